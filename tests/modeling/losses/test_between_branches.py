"""Losses between MDPR's two branches: which way they teach, what they are given, and what they leave as it is."""

import pytest
import torch
from fastreid.config import get_cfg
from support.settings import SINGLE_BRANCH, small_config, small_model
from torch import nn

from mdpr_fastreid.config import check_config
from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.inference import fold
from mdpr_fastreid.modeling.losses import DISTILLATION_REGISTRY, BranchLosses, build_branch_losses


class Towards(nn.Module):
    """Directional: squared distance of the student's embedding to the teacher's."""

    name, takes = "towards", "embedding"

    def __init__(self, cfg=None):
        super().__init__()

    def forward(self, teacher, student, targets):
        return (teacher - student).square().sum()


class Product(nn.Module):
    """Symmetric, on logits: its gradient on each side is the other side."""

    takes, symmetric = "logits", True

    def __init__(self, cfg=None):
        super().__init__()
        self.calls = 0

    def forward(self, first, second, targets):
        self.calls += 1
        return (first * second * (targets[:, None] == 1)).sum()


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(DISTILLATION_REGISTRY, "_obj_map", dict(DISTILLATION_REGISTRY._obj_map))
    DISTILLATION_REGISTRY.register(Towards)
    DISTILLATION_REGISTRY.register(Product)


def outputs(*names):
    """Of two heads, leaves of the graph."""
    generator = torch.Generator().manual_seed(0)

    def leaf(width):
        return torch.randn(4, width, generator=generator, dtype=torch.float64).requires_grad_()

    return [{name: leaf(width) for name, width in names} for _ in range(2)]


def batch_of(size=8):
    generator = torch.Generator().manual_seed(0)
    return {
        "images": torch.rand(size, 3, 96, 48, generator=generator) * 255,
        "targets": torch.arange(size) // 2 % 4,
    }


def with_kind(kind, *overrides):
    torch.manual_seed(0)
    return small_model("MODEL.MDPR.DISTILL.KIND", kind, *overrides)


def test_a_directional_loss_is_called_both_ways_and_its_teacher_stays_as_it_is():
    first, second = outputs(("features", 3), ("pred_class_logits", 5))
    one, other = first["features"], second["features"]
    losses = BranchLosses({"towards": Towards()})(first, second, torch.arange(4))
    assert list(losses) == ["towards"]
    torch.testing.assert_close(losses["towards"], 2 * (one - other).square().sum())
    losses["towards"].backward()
    # Of each direction the gradient on the student alone; without a fixed teacher it would be twice as large
    torch.testing.assert_close(one.grad, 2 * (one - other).detach())
    torch.testing.assert_close(other.grad, 2 * (other - one).detach())
    assert first["pred_class_logits"].grad is None


def test_a_symmetric_loss_is_called_once_and_its_gradients_are_its_own():
    first, second = outputs(("features", 3), ("pred_class_logits", 5))
    one, other = first["pred_class_logits"], second["pred_class_logits"]
    loss = Product()
    BranchLosses({"Product": loss})(first, second, torch.tensor([1, 0, 1, 2]))["Product"].backward()
    assert loss.calls == 1
    chosen = torch.tensor([1.0, 0, 1, 0])[:, None]
    torch.testing.assert_close(one.grad, other.detach() * chosen)
    torch.testing.assert_close(other.grad, one.detach() * chosen)
    assert first["features"].grad is None


def test_the_weight_of_the_config_is_that_of_every_loss():
    first, second = outputs(("features", 3), ("pred_class_logits", 5))
    settings = ["MODEL.MDPR.DISTILL.KIND", "towards+Product", "MODEL.MDPR.DISTILL.SCALE", 0.25]
    weighted = build_branch_losses(small_config(*settings))(first, second, torch.arange(4))
    plain = build_branch_losses(small_config(*settings[:2]))(first, second, torch.arange(4))
    assert list(weighted) == list(plain) == ["towards", "Product"]
    for name, value in plain.items():
        torch.testing.assert_close(weighted[name], value / 4)


@pytest.mark.parametrize("kind", ["towards", "Product"])
def test_a_loss_teaches_both_branches_of_the_network_and_nothing_beside_them(kind):
    model = with_kind(kind).train()
    losses = model(batch_of())
    losses[f"loss_distillation_{kind}"].backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    for part in ("backbone.trunk", "backbone.hard.stage4", "backbone.soft.stage4", "hard.global_embedding"):
        assert any(name.startswith(part) for name in reached), part
    for part in ("heads.fusion", "hard.stripe_embeddings", "soft.embedding3", "soft.attention_maker4"):
        assert not any(name.startswith(part) for name in reached), part


def test_losses_are_logged_by_their_names_and_replace_the_predictors():
    batch = batch_of()
    several, cosine, none = with_kind("towards+Product"), with_kind("cosine"), with_kind("cosine", *_NONE)
    found, published, without = (set(model.train()(batch)) for model in (several, cosine, none))
    assert found - without == {"loss_distillation_towards", "loss_distillation_Product"}
    assert published - without == {"loss_distillation"}
    assert several.heads.predictors is None and several.state_dict().keys() == none.state_dict().keys()
    assert cosine.heads.branch_losses is None


_NONE = ("MODEL.MDPR.DISTILL.ENABLED", False)


def test_beside_the_cosine_its_loss_and_its_predictors_stay():
    torch.manual_seed(0)
    both, cosine = with_kind("cosine+towards").train(), with_kind("cosine").train()
    both.load_state_dict(cosine.state_dict())
    losses, alone = both(batch_of()), cosine(batch_of())
    assert losses.keys() - alone.keys() == {"loss_distillation_towards"}
    assert all(torch.equal(losses[name], value) for name, value in alone.items())


@pytest.mark.parametrize("kind", ["towards", "towards+Product"])
def test_inference_is_untouched_folded_or_not(kind):
    cosine, ours = with_kind("cosine").eval(), with_kind(kind).eval()
    kept = {name: value for name, value in cosine.state_dict().items() if "predictors" not in name}
    ours.load_state_dict(kept)
    images = batch_of(3)["images"]
    with torch.no_grad():
        expected = cosine(images)
        assert torch.equal(ours(images), expected)
        folded, of_cosine = fold(ours), fold(cosine)
        assert torch.equal(folded(images), of_cosine(images))
    assert [name for name, _ in folded.named_modules()] == [name for name, _ in of_cosine.named_modules()]
    assert not any("branch_losses" in name for name, _ in folded.named_modules())


def test_a_loss_with_numbers_to_learn_trains_them_and_is_left_out_of_the_folded_network():
    class Scaled(Towards):
        name = "scaled"

        def __init__(self, cfg):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

        def forward(self, teacher, student, targets):
            return self.factor * super().forward(teacher, student, targets)

    DISTILLATION_REGISTRY.register(Scaled)
    model = with_kind("scaled").train()
    model(batch_of())["loss_distillation_scaled"].backward()
    assert model.heads.branch_losses["scaled"].factor.grad > 0
    assert not any("factor" in name for name in fold(model.eval()).state_dict())


def test_switched_off_no_loss_is_built_whatever_it_is_called():
    model = with_kind("nothing of that name", *_NONE)
    assert model.heads.branch_losses is None and model.heads.predictors is None
    check_config(small_config("MODEL.MDPR.DISTILL.KIND", "", *_NONE), ("model",))
    with_kind("towards", *SINGLE_BRANCH["hard"])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("toward", "DISTILL.KIND: nothing is registered as 'toward' in DISTILLATION; did you mean towards"),
        ("cosine+Towards", "DISTILL.KIND: nothing is registered as 'Towards'"),
        ("towards+towards", "DISTILL.KIND must be names registered in DISTILLATION_REGISTRY, each once"),
        ("towards+", "DISTILL.KIND must be names registered"),
        ("", "DISTILL.KIND must be names registered"),
    ],
)
def test_a_wrong_kind_is_named_before_anything_is_built(kind, message):
    with pytest.raises(SettingsError, match=message) as raised:
        check_config(small_config("MODEL.MDPR.DISTILL.KIND", kind), ("model",))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("takes", [None, "features"])
def test_a_loss_that_does_not_say_what_a_branch_can_give_it_is_refused_when_it_is_built(takes):
    class Odd(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            if takes:
                self.takes = takes

    DISTILLATION_REGISTRY.register(Odd)
    cfg = get_cfg()
    cfg.MODEL.MDPR.DISTILL.KIND = "Odd"
    with pytest.raises(SettingsError, match="KIND: Odd .* and a branch gives 'logits' or 'embedding'") as raised:
        build_branch_losses(cfg)
    assert "\n" not in str(raised.value)
