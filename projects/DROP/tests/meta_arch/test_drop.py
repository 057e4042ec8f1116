"""The architecture: what it gives, what depends on what, what it refuses."""

import copy

import pytest
import torch
from small_drop import SHARED, batch_of, small
from support.gradients import assert_same_state, stepped, without_statistics

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.inference import fold
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.weights import load_for_evaluation, start_from

PARSING = ("parsing.",)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model(small())


def gradients(model, batch, losses):
    """Gradient norms by parameter, of the named losses alone."""
    model.zero_grad()
    found = model.train()(batch)
    sum(found[name] for name in losses).backward()
    return {name: 0.0 if p.grad is None else float(p.grad.norm()) for name, p in model.named_parameters()}


def test_it_gives_every_loss_in_training_and_leaves_the_batch_as_it_is(model):
    batch = batch_of()
    before = {key: value.clone() for key, value in batch.items()}
    losses = model.train()(batch)
    expected = {"loss_cls_whole", "loss_cls_foreground", "loss_cls_parts", "loss_pct", "loss_parsing"}
    assert losses.keys() == expected
    assert all(value.ndim == 0 and value.isfinite() and value > 0 for value in losses.values())
    assert all(torch.equal(before[key], batch[key]) for key in before)


def test_it_gives_embeddings_and_visibility_in_evaluation_with_masks_or_without(model):
    batch = batch_of()
    model.eval()
    with torch.no_grad():
        alone, with_masks = model(batch["images"]), model(batch)
    assert alone["embeddings"].shape == (8, 7, 16)
    assert alone["visibility"].shape == (8, 7)
    torch.testing.assert_close(alone["embeddings"].norm(dim=2), torch.ones(8, 7))
    assert set(alone["visibility"].unique().tolist()) <= {0.0, 1.0}
    assert (alone["visibility"][:, :2] == 1).all()
    assert with_masks.keys() - alone.keys() == {"parsing"}
    assert torch.equal(alone["embeddings"], with_masks["embeddings"])


def test_masks_do_not_change_what_is_compared(model):
    batch = batch_of()
    model.eval()
    with torch.no_grad():
        one, other = model(batch), model(batch | {"masks": torch.zeros_like(batch["masks"])})
    assert torch.equal(one["embeddings"], other["embeddings"])
    assert torch.equal(one["visibility"], other["visibility"])


def test_detached_parts_leave_the_parsing_branch_to_the_parsing_loss():
    model = build_model(small("MODEL.DROP.DETACH_PARTS", True))
    reid = ["loss_cls_whole", "loss_cls_foreground", "loss_cls_parts", "loss_pct"]
    found = gradients(model, batch_of(), reid)
    assert all(norm == 0 for name, norm in found.items() if name.startswith(PARSING))
    assert found["backbone.conv1.weight"] > 0
    found = gradients(model, batch_of(), ["loss_parsing"])
    assert found["parsing.classifier.classifier.weight"] > 0


def test_identity_losses_reach_the_parsing_branch_unless_it_is_detached():
    torch.manual_seed(0)
    model = build_model(small("MODEL.DROP.DETACH_PARTS", False))
    with torch.no_grad():  # fresh, all classes are alike, and no weight of a cell depends on the branch's own
        model.parsing.classifier.apply(lambda m: torch.nn.init.normal_(m.weight) if hasattr(m, "weight") else None)
    found = gradients(model, batch_of(), ["loss_cls_parts", "loss_pct"])
    assert all(norm > 0 for name, norm in found.items() if name.startswith("parsing.upsampling") and "weight" in name)


def test_the_pooled_map_depends_on_no_part_of_the_parsing_branch(model):
    images = batch_of()["images"]
    model.eval()
    with torch.no_grad():
        before = model.reid_map(model.backbone(images))
        for parameter in model.parsing.parameters():
            parameter.normal_()
        assert torch.equal(before, model.reid_map(model.backbone(images)))


def test_positions_are_those_of_the_images_that_the_network_gets():
    cropped = ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [32, 32]]
    padded, cut = (build_model(small(*cropped, "INPUT.PADDING.ENABLED", padding)) for padding in (True, False))
    # What is padded is cut to INPUT.SIZE_TRAIN behind the crop
    assert padded.parsing.positions.table.shape == (16, 16)
    assert cut.parsing.positions.table.shape == (16, 8)


def test_a_fresh_network_is_the_same_function_with_positions_and_without():
    torch.manual_seed(0)
    one = build_model(small())
    other = build_model(small("MODEL.DROP.PPE.ENABLED", False))
    missing = one.load_state_dict(other.state_dict(), strict=False)
    assert all(name.startswith("parsing.positions") for name in missing.missing_keys)
    assert not missing.unexpected_keys
    with torch.no_grad():
        a, b = (model.eval()(batch_of()["images"]) for model in (one, other))
    assert torch.equal(a["embeddings"], b["embeddings"])


def test_evaluation_takes_images_of_another_height(model):
    with torch.no_grad():
        for parameter in model.parsing.positions.parameters():
            parameter.normal_()
        assert model.eval()(torch.rand(2, 3, 96, 32) * 255)["embeddings"].shape == (2, 7, 16)


def test_the_shared_features_baseline_has_no_branch_of_its_own():
    model = build_model(small(config=SHARED))
    assert model.parsing.upsampling is None and model.parsing.positions is None
    assert model.heads.memory is None
    losses = model.train()(batch_of())
    assert "loss_pct" in losses
    assert model.eval()(batch_of()["images"])["embeddings"].shape == (8, 7, 16)


@pytest.mark.parametrize("reid_map", ["last", "all", "full"])
def test_every_reid_map_trains(reid_map):
    model = build_model(small("MODEL.DROP.REID_MAP", reid_map))
    assert all(value.isfinite() for value in model.train()(batch_of()).values())


def test_it_computes_what_it_is_folded_to(model):
    with torch.no_grad():
        for _ in range(3):  # statistics and weights that are not the fresh ones
            model.train()(batch_of())
        for parameter in model.parsing.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        model.eval()
        images = batch_of(seed=1)["images"]
        expected, folded = model(images), fold(model)(images)
    assert folded.keys() == expected.keys()
    torch.testing.assert_close(folded["embeddings"], expected["embeddings"], atol=1e-4, rtol=1e-4)
    assert torch.equal(folded["visibility"], expected["visibility"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_folded_network_of_half_precision_pools_in_float32(model, dtype):
    with torch.no_grad():
        model.train()(batch_of())
        images = batch_of(seed=1)["images"]
        expected, folded = model.eval()(images), fold(model, dtype)(images)
    assert folded["embeddings"].dtype == torch.float32
    similar = torch.nn.functional.cosine_similarity(folded["embeddings"], expected["embeddings"], dim=2)
    assert similar.min() > 0.95


@pytest.mark.parametrize(
    ("norm", "expected"), [("BN", "BatchNorm"), ("GhostBN", "GhostBatchNorm"), ("FrozenBN", "BatchNorm")]
)
def test_the_parsing_branch_has_the_backbones_norm_or_one_that_learns(norm, expected):
    model = build_model(small("MODEL.BACKBONE.NORM", norm))
    found = {type(module).__name__ for module in model.parsing.modules() if "Norm" in type(module).__name__}
    assert found == {expected}


def test_it_is_built_and_run_without_memory():
    cfg = small("MODEL.DEVICE", "meta")
    with torch.device("meta"), torch.no_grad():
        outputs = build_model(cfg).eval()(torch.empty(2, 3, 64, 32))
    assert outputs["embeddings"].shape == (2, 7, 16)


def test_precise_bn_does_not_write_into_the_memory(model):
    before = {name: value.clone() for name, value in model.heads.memory.state_dict().items()}
    with torch.no_grad():
        model.train()(batch_of() | {"targets": torch.full((8,), -1)})
    assert all(torch.equal(before[name], value) for name, value in model.heads.memory.state_dict().items())


@pytest.mark.parametrize("size", [8, 40])
def test_weights_of_another_training_bring_no_memory_along(model, tmp_path, size):
    model.train()(batch_of())
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pth")
    for load in (start_from, load_for_evaluation):
        other = build_model(small("MODEL.DROP.PCT.BANK_SIZE", size))
        load(other, str(tmp_path / "weights.pth"))
        assert (other.heads.memory.targets == -1).all() and other.heads.memory.position == 0
        expected, found = model.eval()(batch_of()["images"]), other.eval()(batch_of()["images"])
        assert torch.equal(expected["embeddings"], found["embeddings"])


@pytest.mark.parametrize("missing", ["targets", "masks"])
def test_a_training_batch_without_labels_is_an_error(model, missing):
    batch = batch_of()
    del batch[missing]
    with pytest.raises(ValueError, match=f"needs a batch with '{missing}'"):
        model.train()(batch)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("MODEL.DROP.DPU.ENABLED", False), "PPE.ENABLED needs MODEL.DROP.DPU.ENABLED"),
        (("MODEL.META_ARCHITECTURE", "Baseline"), "DROPHead needs the parts that DROP finds, which Baseline does not"),
        (("MODEL.HEADS.NAME", "EmbeddingHead"), "EmbeddingHead does not pool parts.*set it to DROPHead"),
        (("MODEL.DROP.TEST_EMBEDDINGS", ("parts", "parts")), "names an embedding twice"),
        (("INPUT.FIELDS", ()), "learns parts from masks"),
        (("TEST.FLIP.ENABLED", True), "left ones apart from right ones: turn it off"),
        (("TEST.AQE.ENABLED", True), "compares parts: turn it off"),
        (("MODEL.DROP.POOLING", "sum"), "MODEL.DROP.POOLING must be"),
    ],
)
def test_settings_that_cannot_be_are_one_line(overrides, message):
    with pytest.raises(SettingsError, match=message):
        build_model(small(*overrides))


@pytest.mark.parametrize(("images", "warned"), [(39, True), (40, False)])
def test_a_memory_larger_than_the_training_set_is_a_warning_before_the_first_step(model, caplog, images, warned):
    model.prepare_training(small(), range(images))
    said = "BANK_SIZE 40 is larger than the training set of 39 images" in caplog.text
    assert said == warned


def test_no_memory_is_never_too_large(caplog):
    cfg = small(config=SHARED)
    build_model(cfg).prepare_training(cfg, range(2))
    assert "BANK_SIZE" not in caplog.text


def test_a_batch_in_parts_has_the_gradients_and_the_memory_of_the_batch_at_once(model):
    whole = without_statistics(model.double())
    cut = copy.deepcopy(whole)
    batches = [batch_of(seed=seed) for seed in (0, 1)]
    batches = [batch | {"images": batch["images"].double()} for batch in batches]
    assert stepped(cut, batches, accumulate=3) == pytest.approx(stepped(whole, batches), rel=1e-6)
    assert_same_state(cut, whole)
    assert whole.heads.memory.position == 16


def test_identities_with_a_single_image_are_a_warning_before_the_first_step(model, caplog):
    items = [("a.png", 0, 0), ("b.png", 1, 0), ("c.png", 1, 1), ("d.png", 2, 0)]

    class OfItems(list):
        img_items = items

    model.prepare_training(small(), OfItems(items))
    assert "2 of 3 identities have a single training image" in caplog.text
    caplog.clear()
    OfItems.img_items = [items[1], items[2]]
    model.prepare_training(small(), OfItems(items))
    assert "single training image" not in caplog.text


def test_a_part_that_no_mask_shows_is_named_once(model, caplog, monkeypatch):
    monkeypatch.setattr("drop.meta_arch.shown_parts.STEPS", 2)
    names = model.heads.part_names
    batch = batch_of()
    batch["masks"] = batch["masks"].clone()
    batch["masks"][batch["masks"] == len(names)] = 0
    for _ in range(4):
        model.train()(batch)
    assert caplog.text.count("training images shows") == 1
    assert f"none of the first {2 * len(batch['masks'])} training images shows {names[-1]}:" in caplog.text
