"""Cutting FastReID's backbones into stages."""

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling.backbones import build_backbone

from mdpr_fastreid.modeling.backbones import BranchedBackbone, split_stages

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
        trunk, stage3, stage4 = split_stages(backbone)
        torch.testing.assert_close(stage4(stage3(trunk(images))), whole)
    pieces = [id(p) for piece in (trunk, stage3, stage4) for p in piece.parameters()]
    assert sorted(pieces) == sorted(id(p) for p in backbone.parameters())


@pytest.mark.parametrize("settings", OTHERS, ids=name)
def test_shapes_are_those_of_a_real_pass(settings):
    backbone = BranchedBackbone(build(settings), ("hard",)).eval()
    with torch.no_grad():
        x3 = backbone.hard.stage3(backbone.trunk(torch.zeros(1, 3, 100, 40)))
        x4 = backbone.hard.stage4(x3)
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
    with pytest.raises(ValueError, match="has none.*ResNet .build_resnet_backbone.*ResNeSt.*OSNet.*RegNet"):
        split_stages(build({"NAME": builder, "DEPTH": depth}))


def test_a_last_stage_that_halves_the_map_is_refused():
    with pytest.raises(ValueError, match="set MODEL.BACKBONE.LAST_STRIDE to 1"):
        BranchedBackbone(build({"DEPTH": "18x", "LAST_STRIDE": 2}), ("soft",)).shapes((128, 64))
