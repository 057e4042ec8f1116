"""Cutting FastReID's backbones into stages, and the maps behind each of them."""

import copy

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling.backbones import build_backbone
from support.folding import with_random_batch_norms
from torch import nn

from mdpr_fastreid.engine.winograd_training import train_with_winograd
from mdpr_fastreid.inference.batch_norm import fold_batch_norms, is_batch_norm
from mdpr_fastreid.inference.winograd import WinogradConv2d, use_winograd
from mdpr_fastreid.modeling.backbones import BranchedBackbone, map_shapes, split_stages, stage_outputs

RESNETS = [
    {"DEPTH": "18x"},
    {"DEPTH": "34x"},
    {"DEPTH": "50x"},
    {"DEPTH": "101x"},
    {"DEPTH": "18x", "WITH_IBN": True},
    {"DEPTH": "50x", "WITH_IBN": True, "WITH_SE": True},
    {"DEPTH": "50x", "WITH_NL": True},
]
OTHERS = [
    {"NAME": "build_resnest_backbone", "DEPTH": "50x"},
    {"NAME": "build_resnext_backbone", "DEPTH": "50x"},
    {"NAME": "build_resnext_backbone", "DEPTH": "50x", "WITH_NL": True},
    {"NAME": "build_osnet_backbone", "DEPTH": "x0_25"},
    {"NAME": "build_regnet_backbone", "DEPTH": "400x"},
    {"NAME": "build_repvgg_backbone", "DEPTH": "A0"},
]


def build(settings):
    cfg = get_cfg()
    cfg.merge_from_list([part for key, value in settings.items() for part in (f"MODEL.BACKBONE.{key}", value)])
    return build_backbone(cfg)


def name(settings):
    return "-".join(str(value) if value is not True else key for key, value in settings.items())


@pytest.mark.parametrize("settings", RESNETS + OTHERS, ids=name)
def test_the_pieces_in_order_compute_what_the_backbone_computes(settings):
    torch.manual_seed(0)
    backbone = build(settings).eval()
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        whole = backbone(images)
        trunk, stage3, stage4, *_ = split_stages(backbone)
        torch.testing.assert_close(stage4(stage3(trunk(images))), whole)
    pieces = [id(p) for piece in (trunk, stage3, stage4) for p in piece.parameters()]
    assert sorted(pieces) == sorted(id(p) for p in backbone.parameters())


@pytest.mark.parametrize("settings", OTHERS, ids=name)
def test_shapes_are_those_of_a_real_pass(settings):
    backbone = BranchedBackbone(build(settings), ("soft",)).eval()
    with torch.no_grad():
        x3 = backbone.soft.stage3(backbone.trunk(torch.zeros(1, 3, 100, 40)))
        x4 = backbone.soft.stage4(x3)
    assert backbone.shapes((100, 40)) == (x3.size(1), *x4.shape[1:])


def test_branches_start_from_the_same_weights_and_part_ways():
    backbone = BranchedBackbone(build({"DEPTH": "18x"}), ("hard", "soft"))
    pairs = list(zip(backbone.hard.parameters(), backbone.soft.parameters(), strict=True))
    assert all(torch.equal(a, b) and a is not b for a, b in pairs)
    with torch.no_grad():
        pairs[0][0].add_(1)
    assert not torch.equal(*pairs[0])


@pytest.mark.parametrize("builder", ["build_mobilenetv2_backbone", "build_shufflenetv2_backbone", "build_vit_backbone"])
def test_a_backbone_without_stages_is_refused_with_those_that_work(builder):
    depth = {"build_vit_backbone": "small", "build_mobilenetv2_backbone": "1.0x"}.get(builder, "1.0x")
    for function in (split_stages, stage_outputs):
        with pytest.raises(ValueError, match="has none.*ResNet .build_resnet_backbone.*ResNeSt.*OSNet.*RegNet"):
            function(build({"NAME": builder, "DEPTH": depth}))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("settings", RESNETS + OTHERS, ids=name)
def test_the_maps_behind_the_stages_end_with_what_the_backbone_gives(settings, training):
    torch.manual_seed(0)
    backbone = build(settings).train(training)
    stages, whole = stage_outputs(copy.deepcopy(backbone)), copy.deepcopy(backbone)
    images = torch.randn(2, 3, 64, 32)
    trunk, stage3, stage4, *_ = split_stages(backbone)
    maps = stages(images)
    assert len(maps) == 4 and torch.equal(maps[3], whole(images))
    # Each piece gets a copy: a stage that works in place would have changed the map it was given
    first = trunk[:-1](images)
    second = trunk[-1](first.clone())
    third = stage3(second.clone())
    for features, expected in zip(maps, (first, second, third, stage4(third.clone())), strict=True):
        assert torch.equal(features, expected)
    assert [features.shape[1:] for features in maps] == map_shapes(stages, (64, 32))
    rows = [features.size(2) for features in maps]
    assert rows == sorted(rows, reverse=True) and rows[0] > rows[-1]


@pytest.mark.parametrize("settings", RESNETS + OTHERS, ids=name)
def test_weights_of_the_whole_backbone_fit_what_gives_the_maps_and_the_other_way_round(settings):
    whole, other = build(settings), build(settings)
    stages = stage_outputs(other)
    assert list(stages.state_dict()) == list(whole.state_dict())
    assert [name for name, _ in stages.named_parameters()] == [name for name, _ in whole.named_parameters()]
    stages.load_state_dict(whole.state_dict())
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(stages.eval()(images)[3], whole.eval()(images))


@pytest.mark.parametrize("settings", RESNETS[2:] + OTHERS, ids=name)
def test_the_maps_are_those_of_the_folded_stages(settings):
    torch.manual_seed(0)
    # In float64, as non-local blocks with random batch norms make large numbers
    stages = with_random_batch_norms(stage_outputs(build(settings))).double()
    images = torch.randn(1, 3, 64, 32, dtype=torch.float64)
    folded = fold_batch_norms(copy.deepcopy(stages))
    left = [sum(is_batch_norm(module) for module in one.modules()) for one in (folded, stages)]
    use_winograd(folded)
    with torch.no_grad():
        for computed, expected in zip(folded(images), stages(images), strict=True):
            assert (computed - expected).norm() < 1e-9 * expected.norm()
    assert left[0] < left[1] / 4


def test_a_training_step_by_winograds_algorithm_computes_the_same_maps():
    torch.manual_seed(0)
    stages = stage_outputs(build({"DEPTH": "18x"})).train()
    images = torch.randn(2, 3, 64, 32)
    expected = copy.deepcopy(stages)(images)
    train_with_winograd(stages)
    assert any(WinogradConv2d.takes(module) for module in stages.modules())
    for computed, plain in zip(stages(images), expected, strict=True):
        torch.testing.assert_close(computed, plain, rtol=1e-3, atol=1e-3)


def test_every_stage_gets_a_gradient_from_its_map():
    stages = stage_outputs(build({"DEPTH": "50x", "WITH_NL": True})).train()
    sum(features.square().mean() for features in stages(torch.randn(2, 3, 64, 32))).backward()
    without = [name for name, parameter in stages.named_parameters() if parameter.grad is None]
    assert not without


def test_a_backbone_brings_its_own_maps():
    class Pyramid(nn.Module):
        def stage_outputs(self):
            return nn.ModuleDict({"of": nn.Identity()})

    assert "of" in stage_outputs(Pyramid())


def test_a_last_stage_that_halves_the_map_is_refused():
    with pytest.raises(ValueError, match="set MODEL.BACKBONE.LAST_STRIDE to 1"):
        BranchedBackbone(build({"DEPTH": "18x", "LAST_STRIDE": 2}), ("soft",)).shapes((128, 64))
