"""MKD and TCL between MDPR's branches: by name, both ways, the source mines, and inference stays as it is."""

import pytest
import torch
from mdkt.losses import MutualLogitsDistillation, TripletContrastLoss
from vkd_values import TARGETS, inputs

from mdpr_fastreid.config import read_config, without_unused_project_keys
from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.modeling.losses import build_branch_losses

SMALL = (
    "MODEL.MDPR.EMBEDDING_DIM",
    8,
    "MODEL.HEADS.NUM_CLASSES",
    4,
    "MODEL.DEVICE",
    "cpu",
    "INPUT.SIZE_TRAIN",
    [64, 32],
)


def mdpr(kind, *overrides):
    return read_config("MDPR/synthreid_r18.yml", [*SMALL, "MODEL.MDPR.DISTILL.KIND", kind, *overrides])


def outputs():
    (first, second), (logits, others) = inputs("emb"), inputs("logits")
    return (
        {"features": first, "pred_class_logits": logits},
        {"features": second, "pred_class_logits": others},
    )


def test_both_are_the_sum_of_both_directions_and_the_source_mines():
    keys = ("MODEL.MDKT.BRANCHES.TCL.TEMPERATURE", 3.0, "MODEL.MDKT.BRANCHES.KD.TEMPERATURE", 4.0)
    first, second = outputs()
    found = build_branch_losses(mdpr("tcl+mkd", *keys))(first, second, TARGETS)
    tcl = TripletContrastLoss(temperature=3, mining="source")(first["features"], second["features"], TARGETS)
    mkd = MutualLogitsDistillation(temperature=4, scale=0.1)(first["pred_class_logits"], second["pred_class_logits"])
    assert found.keys() == {"tcl", "mkd"}
    torch.testing.assert_close(found["tcl"], tcl, atol=1e-12, rtol=0)
    torch.testing.assert_close(found["mkd"], mkd, atol=1e-12, rtol=0)
    gradients = torch.autograd.grad(found["tcl"], (first["features"], second["features"]))
    expected = torch.autograd.grad(tcl, (first["features"], second["features"]))
    torch.testing.assert_close(gradients, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["tcl", "mkd", "tcl+mkd", "cosine+tcl"])
def test_an_mdpr_has_them_in_the_place_of_its_predictors_or_beside(kind):
    torch.manual_seed(0)
    model = build_model(mdpr(kind)).train()
    batch = {"images": torch.rand(8, 3, 64, 32) * 255, "targets": torch.arange(8) // 2}
    losses = model(batch)
    names = {f"loss_distillation_{name}" for name in kind.split("+") if name != "cosine"}
    assert names == {name for name in losses if name.startswith("loss_distillation_")}
    assert ("loss_distillation" in losses) == ("cosine" in kind) == (model.heads.predictors is not None)
    sum(losses[name] for name in names).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    moved = {name.split(".")[1] for name, gradient in gradients.items() if gradient.any()}
    assert {"hard", "soft", "trunk"} <= moved
    torch.manual_seed(0)
    plain = build_model(mdpr("cosine")).eval()
    kept = {name: value for name, value in model.state_dict().items() if "predictors" not in name}
    plain.load_state_dict(kept, strict=False)
    with torch.no_grad():
        assert torch.equal(plain(batch["images"]), model.eval()(batch["images"]))


def test_their_keys_are_used_where_the_kind_names_them():
    with pytest.raises(SettingsError, match="BRANCHES.KD.TEMPERATURE must be a number greater than 0, got 0.0"):
        mdpr("cosine+mkd", "MODEL.MDKT.BRANCHES.KD.TEMPERATURE", 0.0)
    cfg = mdpr("tcl", "MODEL.MDKT.BRANCHES.KD.TEMPERATURE", 0.0)
    kept = without_unused_project_keys(cfg).MODEL.MDKT
    assert set(kept) == {"BRANCHES"} and set(kept.BRANCHES) == {"TCL"}
    assert "MDKT" not in without_unused_project_keys(mdpr("cosine")).MODEL
