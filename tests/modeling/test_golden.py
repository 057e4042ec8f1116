"""MDPR equals the published implementation on the same weights."""

import numpy as np
import pytest
import torch
from support import golden

from mdpr_fastreid.weights.published import to_official

PUBLISHED_LOSSES = {
    "loss_cls_hard_global": "loss_hard_global_cls",
    "loss_triplet_hard_global": "loss_hard_global_triplet",
    **{f"loss_cls_hard_part{i}": f"loss_hard_part_{i}_cls" for i in range(3)},
    **{f"loss_triplet_hard_part{i}": f"loss_hard_part_{i}_triplet" for i in range(3)},
    **{f"loss_{kind}_soft{g}": f"loss_attn_feature{g}_{kind}" for g in (4, 3) for kind in ("cls", "triplet")},
    **{f"loss_cls_attention{g}": f"loss_attn_bap{g}_cls" for g in (4, 3)},
    **{f"loss_diversity{g}": f"loss_diversity_loss_{g}" for g in (4, 3)},
    **{f"loss_area{g}": f"loss_diversity_loss_reg_{g}" for g in (4, 3)},
    "loss_cls_fusion": "loss_fusion_cls",
    "loss_triplet_fusion": "loss_fusion_triplet",
    "loss_distillation": "loss_mutual_distillation",
}

# Relative to the largest value of a tensor, by precision: outputs, losses, gradient norms, BN statistics.
# Gradients of the 50-layer case do not exist to 1e-4 in float32: rounding nothing but its weights to float32, and
# computing in float64, moves them by up to 1.7e-3 (ReLUs switch, instance norms run over 18 positions).
TOLERANCES = {
    torch.float64: {"output": 1e-9, "loss": 1e-6, "gradient": 1e-5, "statistics": 1e-9},
    torch.float32: {"output": 1e-4, "loss": 1e-4, "gradient": 2e-2, "statistics": 1e-4},
}


def relative_error(ours: torch.Tensor, published: np.ndarray) -> float:
    return float(np.abs(ours.detach().double().numpy() - published).max() / np.abs(published).max())


@pytest.fixture(scope="module", params=golden.CASES)
def case(request):
    return golden.load(request.param)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_features_and_attention_equal_the_published_ones(case, dtype):
    model, batch = golden.model(case, dtype).eval(), golden.batch(case, dtype)
    with torch.no_grad():
        features, attention = model(batch), model.attention_maps(batch)
        hard, soft = model.perspectives(model.backbone(model.preprocess_image(batch)))
    for ours, key in (
        (features, "eval/features"),
        (attention.granularity4, "eval/attention4"),
        (attention.granularity3, "eval/attention3"),
        (hard.global_map.mean(dim=(2, 3)), "eval/hard_global_map_mean"),
        (soft.map4.mean(dim=(2, 3)), "eval/soft4_map_mean"),
        (soft.map3.mean(dim=(2, 3)), "eval/soft3_map_mean"),
    ):
        assert ours.shape == case.values[key].shape
        assert relative_error(ours, case.values[key]) < TOLERANCES[dtype]["output"], key


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_losses_gradients_and_statistics_of_a_step_equal_the_published_ones(case, dtype):
    model, tolerances = golden.model(case, dtype).train(), TOLERANCES[dtype]
    losses = model(golden.batch(case, dtype))
    sum(losses.values()).backward()

    published = {key[5:]: float(value) for key, value in case.values.items() if key.startswith("loss/")}
    ours = {PUBLISHED_LOSSES[name]: loss.item() for name, loss in losses.items()}
    ours["total"] = sum(ours.values())
    assert ours.keys() == published.keys()
    for name, value in ours.items():
        # In float32, to the scale of what is subtracted: distances of about 10, cosines of up to 1.
        scale = {"triplet": 10, "distillation": 1}.get(name.rsplit("_", 1)[-1], 0) if dtype is torch.float32 else 0
        assert value == pytest.approx(published[name], rel=tolerances["loss"], abs=scale * tolerances["loss"]), name

    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    norms = {f"gradnorm/{name}": g.double().norm() for name, g in _officially(model, gradients).items()}
    assert norms.keys() == {key for key in case.values if key.startswith("gradnorm/")}
    for key, norm in norms.items():
        assert norm.item() == pytest.approx(float(case.values[key]), rel=tolerances["gradient"]), key

    means = {name: value for name, value in model.state_dict().items() if name.endswith("running_mean")}
    norms = {f"bn_after/{name}": m.double().norm() for name, m in _officially(model, means).items()}
    assert norms.keys() == {key for key in case.values if key.startswith("bn_after/")}
    for key, norm in norms.items():
        assert norm.item() == pytest.approx(float(case.values[key]), rel=tolerances["statistics"]), key


def _officially(model: torch.nn.Module, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Put values that belong to entries of our state dict under their published names."""
    state_dict = model.state_dict()
    published = {id(value): name for name, value in to_official(state_dict).items()}
    return {published[id(state_dict[name])]: value for name, value in values.items()}
