"""timm's models as backbones: the pieces compute what the whole does, in every family that has been tried."""

import copy
import sys

import pytest
import torch
import torch.nn.functional as F
from fastreid.utils.events import EventStorage
from support.folding import with_random_batch_norms
from support.timm_families import (
    CHAINS,
    FAMILIES,
    HIERA,
    KINDS,
    METHODS,
    SIZE,
    TRANSFORMERS,
    timm_baseline_config,
    timm_config,
)

from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.modeling.backbones import BranchedBackbone, build_backbone, split_stages, stage_outputs
from mdpr_fastreid.modeling.backbones.timm_models.layouts import AtSizeOfInput

IMAGES = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def built(family, *overrides, last_stride=2):
    torch.manual_seed(0)
    backbone = build_backbone(timm_config(family, *overrides, last_stride=last_stride))
    return with_random_batch_norms(backbone).double().eval()


BEHIND_STAGES = ("resnetv2", "starnet", "efficientnet", "fastvit")
"""Families with a batch norm or a convolution between the last stage and the pooling."""


def oracle(backbone, indices):
    """The maps that timm's own ``forward_intermediates`` gives."""
    return backbone.forward_intermediates(IMAGES, indices=indices, norm=False, intermediates_only=True)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_pieces_compute_what_the_whole_does(family):
    settings = ["MODEL.BACKBONE.TIMM.NORM_MAPS", False]
    if family in TRANSFORMERS:
        settings += ["MODEL.BACKBONE.TIMM.CLASS_TOKEN", "drop", "MODEL.BACKBONE.TIMM.CUT", (1, 3)]
    backbone = built(family, *settings)
    ends = [2, 3] if family in TRANSFORMERS else [-2, -1]
    if family in CHAINS or family in HIERA:
        count = len(backbone.feature_info)
        ends = [count - 2, count - 1]
    expected3, expected4 = oracle(backbone, ends)
    assert (backbone.behind_stages != ()) == (family in BEHIND_STAGES)
    if backbone.behind_stages:  # what timm's own leaves out of its maps
        expected4 = backbone(IMAGES)
    trunk, stage3, stage4, view3, view4 = copy.deepcopy(split_stages(backbone))
    x3 = stage3(trunk(IMAGES))
    assert torch.equal(view3(x3), expected3)
    if isinstance(stage4, AtSizeOfInput):
        expected4 = F.interpolate(expected4, size=expected3.shape[2:], mode="bilinear", align_corners=False)
    found = view4(stage4(x3))
    torch.testing.assert_close(found, expected4, rtol=1e-12, atol=1e-12)
    assert found.shape[2:] == expected3.shape[2:]


@pytest.mark.parametrize("family", FAMILIES)
def test_mdpr_trains_and_every_weight_has_a_gradient(family):
    torch.manual_seed(0)
    model = build_model(timm_config(family)).train()
    losses = model({"images": torch.rand(8, 3, *SIZE) * 255, "targets": torch.arange(8) // 2})
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_mixed_rotary_angles_are_learned_where_blocks_read_them():
    cut = ["MODEL.BACKBONE.TIMM.CUT", (0, 2), "MODEL.BACKBONE.TIMM.MODEL", "vit_small_patch16_rope_mixed_224"]
    model = build_model(timm_config("rope_mixed", *cut)).train()
    sum(model({"images": torch.rand(8, 3, *SIZE) * 255, "targets": torch.arange(8) // 2}).values()).backward()
    frequencies = {name: p for name, p in model.named_parameters() if name.endswith("rope.freqs")}
    assert sorted(frequencies) == [f"backbone.{b}.stage{s}.rope.freqs" for b in ("hard", "soft") for s in (3, 4)]
    for name, parameter in frequencies.items():
        learned = parameter.grad.abs().sum((0, 2, 3)) > 0
        assert learned.tolist() == ([True, True, False, False] if "stage3" in name else [False, False, True, True])


@pytest.mark.parametrize("family", KINDS)
def test_fastreids_baseline_trains_and_every_weight_has_a_gradient(family):
    torch.manual_seed(0)
    model = build_model(timm_baseline_config(family)).train()
    with EventStorage():
        losses = model({"images": torch.rand(8, 3, *SIZE) * 255, "targets": torch.arange(8) // 2})
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("family", ["resnet", "resnetv2", "swin", "swinv2", "efficientnet", "regnet"])
@torch.no_grad()
def test_the_pooled_map_is_timms_own_embedding(family):
    backbone = built(family)
    embedding = backbone.forward_head(backbone.forward_features(IMAGES), pre_logits=True)
    torch.testing.assert_close(backbone(IMAGES).mean((2, 3)), embedding)


@pytest.mark.parametrize("family", TRANSFORMERS)
@torch.no_grad()
def test_the_class_token_is_added_dropped_or_alone(family):
    prefix = built(family).num_prefix_tokens
    tokens = built(family).forward_features(IMAGES)
    alone = built(family, "MODEL.BACKBONE.TIMM.CLASS_TOKEN", "only")
    if alone.norm_is_left:
        tokens = alone.get_submodule(alone.last_norm)(tokens)
    assert torch.equal(alone(IMAGES)[:, :, 0, 0], tokens[:, 0])
    dropped = built(family, "MODEL.BACKBONE.TIMM.CLASS_TOKEN", "drop")(IMAGES)
    rows, columns = dropped.shape[2:]
    for row in range(rows):
        for column in range(columns):
            assert torch.equal(dropped[:, :, row, column], tokens[:, prefix + row * columns + column])
    added = built(family, "MODEL.BACKBONE.TIMM.CLASS_TOKEN", "add")(IMAGES)
    assert torch.equal(added, dropped + tokens[:, 0, :, None, None])


@pytest.mark.parametrize("family", [*CHAINS, *HIERA])
@torch.no_grad()
def test_the_maps_behind_all_stages(family):
    backbone = built(family)
    last = backbone(IMAGES)
    count = len(backbone.feature_info)
    expected = oracle(backbone, list(range(count - 4, count - 1)))
    maps = stage_outputs(copy.deepcopy(backbone))(IMAGES)
    assert all(torch.equal(one, other) for one, other in zip(maps, [*expected, last], strict=True))


def test_a_plain_transformer_has_no_stages_of_different_sizes():
    with pytest.raises(SettingsError, match="vit_tiny_patch16_224 has no maps of 1/4"):
        stage_outputs(built("vit"))


@pytest.mark.parametrize("family", FAMILIES)
def test_names_of_the_pieces_are_those_of_the_whole(family):
    backbone = built(family)
    names = set(backbone.state_dict())
    branched = BranchedBackbone(backbone, ("hard", "soft"))
    own = {name for name in branched.state_dict() if name not in branched.names_in_whole}
    assert all(name.startswith("soft.view3.") for name in own), own
    assert set(branched.names_in_whole.values()) <= names


@pytest.mark.parametrize(
    ("overrides", "message"),
    {
        "unknown": (["MODEL.BACKBONE.TIMM.MODEL", "convnext_ato"], "no model of timm .*; did you mean convnext_atto"),
        "empty": (["MODEL.BACKBONE.TIMM.MODEL", ""], r"needs the model's name in MODEL\.BACKBONE\.TIMM\.MODEL"),
        "hub": (["MODEL.BACKBONE.TIMM.MODEL", "hf-hub:timm/x"], r"give a name of timm's, and the weights by"),
        "argument": (["MODEL.BACKBONE.TIMM.ARGS", ("depht", 3)], "cannot be built: .*depht"),
        "cut": (["MODEL.BACKBONE.TIMM.CUT", (3, 9)], r"TIMM\.CUT \(3, 9\): the model has 4 blocks"),
        "only": (["MODEL.BACKBONE.TIMM.CLASS_TOKEN", "only"], "leaves MDPR no map .*: set it to add or drop"),
    }.values(),
)
def test_what_does_not_fit_is_one_line(overrides, message):
    with pytest.raises(UsageError, match=message) as caught:
        build_model(timm_config("vit", *overrides))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "overrides", "message"),
    [
        ("convnext", ["CUT", (1, 3)], r"CUT \(1, 3\): convnext_atto is cut where its stages end"),
        ("swin", ["CLASS_TOKEN", "add"], "CLASS_TOKEN add: swin_tiny_patch4_window7_224 has no class token"),
        ("convnext", ["ARGS", ("pretrained", True)], "ARGS must not have pretrained: MODEL.BACKBONE.PRETRAIN starts"),
        ("vit", ["ARGS", ("features_only", True)], "ARGS must not have features_only: the backbone is the whole model"),
        ("vit", ["ARGS", ("patch_size", 0)], "vit_tiny_patch16_224 cannot be built"),
        ("vit", ["RESAMPLE", "stride"], "vit_tiny_patch16_224 has its strides; set it to upsample"),
    ],
)
def test_what_has_no_meaning_for_a_family_is_one_line(family, overrides, message):
    key, value = overrides
    with pytest.raises(UsageError, match=message) as caught:
        build_model(timm_config(family, f"MODEL.BACKBONE.TIMM.{key}", value))
    assert "\n" not in str(caught.value)


def test_stages_of_stride_1_are_not_asked_for_beside_a_last_stride_of_2():
    overrides = ["MODEL.BACKBONE.TIMM.RESAMPLE", "stride", "MODEL.BACKBONE.LAST_STRIDE", 2]
    with pytest.raises(SettingsError, match="RESAMPLE stride is for MODEL.BACKBONE.LAST_STRIDE 1, and it is 2"):
        build_model(timm_config("convnext", *overrides))


def test_images_as_they_are_have_the_size_that_fastreid_takes_for_them():
    as_they_are = ["INPUT.SIZE_TRAIN", [0, 0], "INPUT.SIZE_TEST", [0, 0]]
    assert built("convnext", *as_they_are).reading.size == (256, 128)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["vit", "eva02", "hiera", "swinv2"])
@pytest.mark.parametrize(("key", "value"), [("INPUT.SIZE_TRAIN", [64]), ("INPUT.SIZE_TEST", [0])])
def test_an_open_size_of_images_is_refused_when_a_model_of_fixed_sizes_is_built(method, family, key, value):
    message = rf"{key} \[{value[0]}\] leaves the size of images open, .* {FAMILIES[family][0]} does not take any size"
    with pytest.raises(SettingsError, match=message) as caught:
        build_model(METHODS[method](family, key, value, "INPUT.PADDING.ENABLED", False))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["convnext", "swin"])
@torch.no_grad()
def test_a_model_of_any_size_takes_images_of_an_open_one(method, family):
    size = ["INPUT.SIZE_TRAIN", [64], "INPUT.SIZE_TEST", [0], "INPUT.PADDING.ENABLED", False]
    model = build_model(METHODS[method](family, *size)).eval()
    assert model(torch.rand(2, 3, 160, 64) * 255).shape == model(torch.rand(2, 3, 96, 80) * 255).shape


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("crop", "size"), [([96, 48], (96, 48)), ([80], (80, 80))])
@torch.no_grad()
def test_a_model_is_built_for_the_crop_where_images_are_cropped(method, crop, size):
    options = ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", crop, "INPUT.SIZE_TRAIN", [0], "INPUT.SIZE_TEST", [160]]
    model = build_model(METHODS[method]("vit", *options, "INPUT.PADDING.ENABLED", False)).eval()
    assert model(torch.rand(2, 3, *size) * 255).shape[0] == 2


def test_a_crop_that_the_model_does_not_take_is_named():
    options = ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [128, 64], "INPUT.PADDING.ENABLED", True]
    with pytest.raises(SettingsError, match=r"does not take images of INPUT\.CROP\.SIZE 128 x 64"):
        build_model(timm_config("hiera", *options))


@pytest.mark.parametrize("method", METHODS)
def test_a_size_of_the_test_that_the_model_does_not_take_is_refused_when_it_is_built(method):
    with pytest.raises(SettingsError, match="hiera_tiny_224 does not take images of INPUT.SIZE_TEST 128 x 64"):
        build_model(METHODS[method]("hiera", "INPUT.SIZE_TEST", [128, 64]))


@pytest.mark.parametrize("model", ["levit_128s", "efficientvit_m0", "hrnet_w18_small"])
def test_a_family_that_cannot_be_cut_is_refused_by_name(model):
    with pytest.raises(SettingsError, match=f"{model} .*cannot be cut for MDPR|{model} gives no map"):
        build_model(timm_config("resnet", "MODEL.BACKBONE.TIMM.MODEL", model))


def test_a_size_of_images_that_the_model_does_not_take_is_refused():
    size = ["INPUT.SIZE_TRAIN", [64, 30], "INPUT.SIZE_TEST", [64, 30]]
    with pytest.raises(SettingsError, match="hiera_tiny_224 .*(64 x 30|cannot be built)") as caught:
        build_model(timm_config("hiera", *size))
    assert "\n" not in str(caught.value)


def test_another_width_than_the_head_reads_is_named_with_the_right_one():
    width = ["MODEL.BACKBONE.FEAT_DIM", 2048]
    with pytest.raises(SettingsError, match="FEAT_DIM is 2048, but the maps of build_timm_backbone have 320 channels"):
        build_model(timm_baseline_config("convnext", *width))
    resnet = ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "18x"]
    with pytest.raises(
        SettingsError, match="FEAT_DIM is 2048, but the maps of build_resnet_backbone have 512 channels"
    ):
        build_model(timm_baseline_config("convnext", *width, *resnet))


@pytest.mark.parametrize("architecture", ["MoCo", "Distiller"])
def test_fastreids_other_architectures_of_one_map_are_checked_too(architecture):
    cfg = timm_baseline_config("convnext", "MODEL.BACKBONE.FEAT_DIM", 2048, "MODEL.META_ARCHITECTURE", architecture)
    cfg.KD.EMA.ENABLED, cfg.MODEL.QUEUE_SIZE = True, 8
    with pytest.raises(SettingsError, match="FEAT_DIM is 2048, but the maps of build_timm_backbone have 320 channels"):
        build_model(cfg)


def test_pooling_that_takes_negative_values_for_zero_is_refused():
    overrides = ["MODEL.BACKBONE.FEAT_DIM", 320, "MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPooling"]
    with pytest.raises(SettingsError, match="convnext_atto have some: set it to GlobalAvgPool"):
        build_model(timm_baseline_config("convnext", *overrides))


def test_without_timm_the_builder_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'mdpr-fastreid\[timm\]'"):
        build_model(timm_config("convnext"))
    assert build_model(timm_config("convnext", "MODEL.BACKBONE.NAME", "build_resnet_backbone")) is not None


@pytest.mark.parametrize("family", ["vit", "swin", "convnext", "eva02", "clip"])
@torch.no_grad()
def test_images_of_another_size_in_the_test(family):
    other = (96, 48)
    model = build_model(timm_config(family, "INPUT.SIZE_TEST", list(other))).eval()
    assert model(torch.rand(2, 3, *other) * 255).shape == model(torch.rand(2, 3, *SIZE) * 255).shape
