"""SOLIDER's Swin: values of the published class from files with its names, alone and in MDPR's pieces."""

import copy

import pytest
import torch
import torch.nn.functional as F
from support.folding import relative_difference
from support.golden_transformers import SOLIDER, assert_golden, backbone, images, loaded, weights
from support.settings import small_config
from timm.models.swin_transformer import SwinTransformerBlock

from mdpr_fastreid.inference import fold
from mdpr_fastreid.inference.export import export
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.modeling.backbones import split_stages
from mdpr_fastreid.modeling.backbones.timm_models.layouts import AtSizeOfInput
from mdpr_fastreid.weights import translating

MICRO = {"embed_dim": 24, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}
CASES = {
    "micro": (MICRO, weights(SOLIDER["micro"]["state_dict"])),
    "tiny": ({}, weights(SOLIDER["tiny"]["state_dict"])),
}
RUNS = [(case, run) for case in CASES for run in SOLIDER[case]["runs"]]
SETTINGS = [
    *("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM.MODEL", "solider_swin_tiny"),
    *("MODEL.BACKBONE.TIMM.ARGS", tuple(part for pair in MICRO.items() for part in pair)),
    *("INPUT.SIZE_TRAIN", [96, 40], "INPUT.SIZE_TEST", [96, 40], "MODEL.MDPR.PARTS", 2),
]


def built(case, run, folder, *overrides):
    arguments, state_dict = CASES[case]
    semantic = -1.0 if run == "no controller" else float(run)
    size = tuple(SOLIDER[case]["input_shape"][2:])
    model = backbone("solider_swin_tiny", arguments, size, "MODEL.BACKBONE.TIMM.SEMANTIC_WEIGHT", semantic, *overrides)
    return loaded(model, state_dict, folder)


@pytest.fixture(scope="module")
def micro(tmp_path_factory):
    return built("micro", "0.2", tmp_path_factory.mktemp("solider"))


@torch.no_grad()
def maps_of(model, state_dict, case):
    """The four maps that the published class returns; its first two norms are not in our model."""
    features, maps = model.patch_embed(images(SOLIDER[case]["input_shape"])), []
    norms = [*((state_dict[f"norm{i}.weight"], state_dict[f"norm{i}.bias"]) for i in (0, 1))]
    norms += [(norm.weight, norm.bias) for norm in (model.norm_stage3, model.norm)]
    for stage, norm in zip(model.layers, norms, strict=True):
        features = stage(features)
        maps.append(F.layer_norm(features, features.shape[-1:], *norm).permute(0, 3, 1, 2))
    return maps


@pytest.mark.parametrize(("case", "run"), RUNS)
@torch.no_grad()
def test_maps_and_features_are_those_of_the_published_class(tmp_path, case, run):
    model, expected = built(case, run, tmp_path), SOLIDER[case]["runs"][run]
    for found, recorded in zip(maps_of(model, CASES[case][1], case), expected["maps"], strict=True):
        assert_golden(found, recorded)
    whole = model(images(SOLIDER[case]["input_shape"]))
    assert_golden(whole, expected["maps"][3])
    assert_golden(whole.mean((2, 3)), expected["pooled"])


def assert_other_features(model):
    with pytest.raises(AssertionError, match=r"norm|first8|sum"):
        assert_golden(model(images([2, 3, 96, 40])).mean((2, 3)), SOLIDER["micro"]["runs"]["0.2"]["pooled"], 1e-3)


@torch.no_grad()
def test_shifting_before_padding_gives_other_features(micro):
    model = copy.deepcopy(micro)
    for stage in model.layers:
        for block in stage.blocks:
            block.__class__ = SwinTransformerBlock
    assert_other_features(model)


@torch.no_grad()
def test_merging_without_reordering_gives_other_features(tmp_path, monkeypatch):
    monkeypatch.setattr(
        translating,
        "TRANSLATIONS",
        [one._replace(rules=[rule._replace(change=None) for rule in one.rules]) for one in translating.TRANSLATIONS],
    )
    assert_other_features(built("micro", "0.2", tmp_path))


@torch.no_grad()
def test_the_norm_of_stage_3_before_stage_4_gives_other_features(micro):
    model = copy.deepcopy(micro)
    model.layers[3] = torch.nn.Sequential(model.norm_stage3, model.layers[3])
    assert_other_features(model)


@torch.no_grad()
def test_the_controller_of_a_stage_before_its_merging_gives_other_features(micro):
    model = copy.deepcopy(micro)
    for stage in model.layers[1:]:
        controller, stage.downsample.controller = stage.downsample.controller, torch.nn.Identity()
        half = copy.deepcopy(controller)
        for layer in (half.scale, half.shift):
            layer.weight.data, layer.bias.data = layer.weight[::2], layer.bias[::2]
        stage.downsample = torch.nn.Sequential(half, stage.downsample)
    assert_other_features(model)


@torch.no_grad()
def test_the_pieces_of_mdpr_compute_what_the_whole_does(micro):
    trunk, stage3, stage4, view3, view4 = copy.deepcopy(split_stages(micro))
    assert isinstance(stage4, AtSizeOfInput)
    expected = SOLIDER["micro"]["runs"]["0.2"]["maps"]
    x3 = stage3(trunk(images([2, 3, 96, 40])))
    assert_golden(view3(x3), expected[2])
    assert_golden(view4(stage4.stage(x3)), expected[3])
    assert torch.equal(view4(stage4.stage(x3)), micro(images([2, 3, 96, 40])))


@pytest.mark.parametrize("size", [(97, 41), (50, 30), (33, 65)])
@torch.no_grad()
def test_images_of_any_size_are_padded_at_the_end(micro, size):
    odd = images([2, 3, *size])
    padded = F.pad(odd, (0, -size[1] % 4, 0, -size[0] % 4))
    found = micro(odd)
    assert found.shape == (2, 192, -(-size[0] // 32), -(-size[1] // 32))
    assert torch.equal(found, micro(padded))


def trained(*overrides):
    torch.manual_seed(0)
    model = build_model(small_config(*SETTINGS, *overrides)).train()
    batch = {"images": torch.rand(8, 3, 96, 40) * 255, "targets": torch.arange(8) // 2}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sum(model(batch).values()).backward()
    optimizer.step()
    return model, before


def test_a_step_of_mdpr_trains_all_but_the_controller():
    model, before = trained()
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    necks = {name for name in before if ".bottleneck." in name}  # their biases are frozen by FastReID
    frozen = {name for name, _ in model.named_parameters()} - changed - necks
    controllers = {name for name, _ in model.named_parameters() if ".controller." in name}
    assert len(controllers) == 4 * 5  # stage 2 in the trunk, stages 3 and 4 in both branches
    assert frozen == controllers
    assert all(not p.requires_grad for name, p in model.named_parameters() if name in controllers)
    assert "backbone.soft.view3.norm.weight" in changed


def test_as_initialised_the_controller_changes_nothing():
    asked, without = (
        backbone("solider_swin_tiny", MICRO, (96, 40), "MODEL.BACKBONE.TIMM.SEMANTIC_WEIGHT", weight)
        for weight in (0.2, -1.0)
    )
    torch.testing.assert_close(asked(images([2, 3, 96, 40])), without(images([2, 3, 96, 40])), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_folded_and_exported_features_are_those_of_the_model(tmp_path):
    model = build_model(small_config(*SETTINGS)).eval()
    for name, value in model.named_parameters():
        if ".controller." in name:
            value.normal_(0, 0.5)
    pixels = torch.rand(2, 3, 96, 40) * 255
    folded = fold(model, winograd=False)
    assert relative_difference(folded(pixels), model(pixels)) < 1e-5
    assert export(folded, tmp_path / "solider.pt2", "torch-export", (96, 40), {}) < 1e-5
