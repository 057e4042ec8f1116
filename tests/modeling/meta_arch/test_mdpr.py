"""What MDPR computes, and what it leaves out."""

import itertools

import pytest
import torch
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage
from fastreid.utils.precision_bn import get_bn_modules, update_bn_stats
from support.settings import SINGLE_BRANCH, small_config, small_model

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.features import INFERENCE_FEATURES
from mdpr_fastreid.modeling.heads import mdpr_head


def batch_of(size=8, height=96):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(size, 3, height, 48, generator=generator) * 255
    return {"images": images, "targets": torch.arange(size) // 2 % 4}


SWITCHED_OFF = {
    "MODEL.MDPR.DISTILL.ENABLED": False,
    "MODEL.MDPR.ATTENTION.GUIDED": False,
    "MODEL.MDPR.ATTENTION.MAPS": 1,
    "MODEL.MDPR.ATTENTION.DIVERSITY_SCALE": 0.0,
    "MODEL.MDPR.ATTENTION.AREA_SCALE": 0.0,
    "MODEL.MDPR.FUSION.ENABLED": False,
}


def combinations():
    """Nothing, each one, each two and all of the switches off, and each branch alone."""
    for count in (0, 1, 2, len(SWITCHED_OFF)):
        for keys in itertools.combinations(SWITCHED_OFF, count):
            overrides = [part for key in keys for part in (key, SWITCHED_OFF[key])]
            if "MODEL.MDPR.FUSION.ENABLED" in keys:
                overrides += ["MODEL.MDPR.INFERENCE_FEATURES", INFERENCE_FEATURES[:4]]
            yield overrides
    for overrides in SINGLE_BRANCH.values():
        yield overrides
        yield [*overrides, "MODEL.LOSSES.NAME", ("CrossEntropyLoss",)]


def switched(overrides):
    return "-".join(key.split(".", 2)[-1] for key in overrides[::2]) or "all on"


@pytest.mark.parametrize("overrides", list(combinations()), ids=switched)
def test_every_parameter_gets_a_gradient_whatever_is_switched_off(overrides):
    model = small_model(*overrides).train()
    sum(model(batch_of()).values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("features", [*((name,) for name in INFERENCE_FEATURES), ("soft3", "hard_global")], ids=str)
def test_at_inference_only_what_reaches_the_vector_runs(features):
    model = small_model("MODEL.MDPR.INFERENCE_FEATURES", features).eval()
    ran = set()
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.add(name))
    with torch.no_grad():
        model(batch_of(2))
    needed = {
        "hard_global": {"backbone.hard.stage4", "hard.global_embedding"},
        "hard_parts": {"backbone.hard.stage4", "hard.stripe_embeddings.0", "hard.stripe_embeddings.1"},
        "soft4": {"backbone.soft.stage4", "soft.embedding4"},
        "soft3": {"soft.refine3", "soft.embedding3"},
    }
    needed["fusion"] = set().union(*needed.values()) | {"heads.fusion"}
    optional = set().union(*needed.values())
    assert ran & optional == set().union(*(needed[feature] for feature in features))
    never = ("attention_maker", "guidance", "pooling", "predictors", "identity_losses", "attention3", "attention4")
    assert not [name for name in ran if any(part in name for part in never)]


def test_the_inference_vector_is_the_chosen_features_in_the_chosen_order():
    torch.manual_seed(0)
    whole = small_model("MODEL.MDPR.PARTS", 3).eval()
    batch = batch_of(3)
    with torch.no_grad():
        vector = whole(batch)
        width = {"hard_global": 16, "hard_parts": 48, "soft4": 16, "soft3": 16, "fusion": 64}
        assert vector.shape == (3, sum(width.values()))
        pieces = dict(zip(INFERENCE_FEATURES, vector.split(list(width.values()), dim=1), strict=True))
        for features in itertools.permutations(INFERENCE_FEATURES, 2):
            whole.heads.inference_features = features
            torch.testing.assert_close(whole(batch), torch.cat([pieces[name] for name in features], dim=1))


@pytest.mark.parametrize("height", [96, 97, 112, 121])
def test_heights_that_stripes_do_not_divide_and_a_batch_of_one_work(height):
    model = small_model("MODEL.MDPR.PARTS", 4).eval().double()
    images = batch_of(3, height)["images"].double()
    with torch.no_grad():
        together = model(images)
        for image, features in zip(images, together, strict=True):
            assert features.shape == (176,)
            torch.testing.assert_close(model(image[None])[0], features)


def test_the_batch_is_not_changed():
    model, batch = small_model(), batch_of()
    before = {key: value.clone() for key, value in batch.items()}
    model.train()(batch)
    model.eval()(batch)
    assert all(torch.equal(batch[key], before[key]) for key in batch)


def test_a_training_step_reads_no_value_on_the_host():
    # Tensors on the meta device have no values, so anything that synchronises with a GPU would raise here.
    model = small_model().to("meta").train()
    losses = model({"images": torch.empty(8, 3, 96, 48, device="meta"), "targets": torch.arange(8, device="meta")})
    sum(losses.values()).backward()
    assert all(loss.device.type == "meta" for loss in losses.values())


def test_attention_maps_are_given_on_request_with_the_size_of_the_last_stage():
    model = small_model("MODEL.MDPR.ATTENTION.MAPS", 3).eval()
    with torch.no_grad():
        maps = model.attention_maps(batch_of(2))
    for attention in maps:
        assert attention.shape == (2, 3, 6, 3)
        assert attention.min() >= 0 and attention.sum(dim=1).max() <= 1 + 1e-6
    with pytest.raises(ValueError, match="MODEL.MDPR.BRANCHES has no 'soft'"):
        small_model(*SINGLE_BRANCH["hard"]).attention_maps(batch_of(2))


def test_training_without_targets_is_one_clear_error():
    with pytest.raises(ValueError, match="needs a batch with 'targets'"):
        small_model().train()(batch_of()["images"])


def test_a_batch_without_images_is_one_clear_error():
    batch = {"clips": torch.zeros(2, 8, 3, 96, 48), "targets": torch.arange(2)}
    with pytest.raises(SettingsError, match=r"needs images, and the batch has only clips, targets: INPUT\.CLIP"):
        small_model().train()(batch)


@pytest.mark.parametrize(
    ("overrides", "head"),
    [
        ([], "fusion"),
        (["MODEL.MDPR.FUSION.ENABLED", False, "MODEL.MDPR.INFERENCE_FEATURES", INFERENCE_FEATURES[:4]], "hard_global"),
        (SINGLE_BRANCH["soft"], "soft4"),
    ],
)
def test_the_accuracy_that_is_logged_is_of_the_fused_feature_or_of_the_first_one(overrides, head, monkeypatch):
    model = small_model(*overrides).train()
    logged, given, losses = [], [], model.heads.losses
    monkeypatch.setattr(mdpr_head, "log_accuracy", lambda logits, targets: logged.append(logits))
    monkeypatch.setattr(
        model.heads, "losses", lambda outputs, targets: given.append(outputs) or losses(outputs, targets)
    )
    model(batch_of())
    assert logged[0] is given[0]["heads"][head]["pred_class_logits"]


def test_precise_bn_of_the_toolbox_finds_and_updates_every_batch_norm():
    model = small_model().train()
    before = [bn.running_mean.clone() for bn in get_bn_modules(model)]
    with EventStorage():
        update_bn_stats(model, (batch_of() for _ in range(2)), 2)
    changed = [not torch.equal(bn.running_mean, old) for bn, old in zip(get_bn_modules(model), before, strict=True)]
    assert len(changed) == len([m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)])
    assert all(changed)


def test_frozen_layers_keep_their_weights_and_head_learning_rates_are_scaled():
    cfg = small_config(
        *("MODEL.FREEZE_LAYERS", ["backbone"], "SOLVER.FREEZE_ITERS", 5, "SOLVER.HEADS_LR_FACTOR", 3.0),
        *("SOLVER.BASE_LR", 0.01, "SOLVER.WARMUP_ITERS", 0),
    )
    model = small_model().train()
    optimizer, params = build_optimizer(cfg, model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.zero_grad()
    sum(model(batch_of()).values()).backward()
    optimizer.step()
    params.assert_buffer_is_valid()
    moved = {name: not torch.equal(p, before[name]) for name, p in model.named_parameters() if p.requires_grad}
    assert not any(moved[name] for name in moved if name.startswith("backbone."))
    assert all(moved[name] for name in moved if name.endswith("conv.weight") and not name.startswith("backbone."))
    rates = {group["lr"] for group in optimizer.param_groups}
    assert rates == {0.01, 0.03}


def test_under_autocast_the_losses_are_float32_and_close():
    torch.manual_seed(0)
    model = small_model().train()
    exact = model(batch_of(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(batch_of(4))
    total = sum(mixed.values())
    total.backward()
    assert all(loss.dtype is torch.float32 for loss in mixed.values())
    assert total.item() == pytest.approx(sum(exact.values()).item(), rel=0.05)


def test_the_published_vector_has_4608_numbers():
    model = small_model("MODEL.MDPR.EMBEDDING_DIM", 512).eval()
    with torch.no_grad():
        assert model(batch_of(1)).shape == (1, 4608)
