"""Pretrained weights: the file that FastReID would take, found, fetched, and loaded without running code."""

import os
import sys

import pytest
import torch
from fastreid.modeling import build_model as stock_build_model
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from small_runs import small_config
from support.bad_weight_files import Harmful, truncated
from support.offline import go_offline
from support.weight_kinds import resnet
from torch import nn

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.weights.pretrained import pretrained_file

RESNET = ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "18x", "MODEL.HEADS.NUM_CLASSES", 2]
RESNET += ["MODEL.BACKBONE.FEAT_DIM", 512, "MODEL.BACKBONE.PRETRAIN", True]


@pytest.fixture
def offline(tmp_path, monkeypatch):
    return go_offline(monkeypatch, tmp_path / "home")


OTHERS = {
    "build_resnet_backbone": ("resnet18-5c106cde.pth", []),
    "build_resnest_backbone": ("resnest50-528c19ca.pth", ["MODEL.BACKBONE.DEPTH", "50x"]),
    "build_osnet_backbone": ("osnet_x1_0_imagenet.pth", ["MODEL.BACKBONE.DEPTH", "x1_0"]),
    "build_mobilenetv3_backbone": ("mobilenet_v3_large-8738ca79.pth", ["MODEL.BACKBONE.DEPTH", "Large"]),
}


@pytest.mark.parametrize("backbone", OTHERS)
def test_weights_that_cannot_be_fetched_are_one_error_with_file_folder_and_way_out(offline, monkeypatch, backbone):
    name, options = OTHERS[backbone]
    drive = pytest.importorskip("gdown")
    monkeypatch.setattr(drive, "download", torch.hub.download_url_to_file)
    cfg = small_config(offline, *RESNET, "MODEL.BACKBONE.NAME", backbone, *options)
    with pytest.raises(UsageError) as caught:
        build_model(cfg)
    message = str(caught.value)
    assert name in message
    assert str(offline) in message
    assert "MODEL.BACKBONE.PRETRAIN False" in message
    assert "\n" not in message


def test_weights_in_the_cache_are_loaded(offline):
    cfg = small_config(offline, *RESNET)
    source = build_model(small_config(offline, *RESNET, "MODEL.BACKBONE.PRETRAIN", False)).backbone
    (offline / "checkpoints").mkdir(parents=True)
    torch.save(source.state_dict(), offline / "checkpoints/resnet18-5c106cde.pth")
    loaded = build_model(cfg).backbone
    assert torch.equal(loaded.conv1.weight, source.conv1.weight)


def test_a_truncated_file_in_the_cache_is_named(offline):
    (offline / "checkpoints").mkdir(parents=True)
    path = offline / "checkpoints/resnet18-5c106cde.pth"
    torch.save({"conv1.weight": torch.rand(64, 3, 7, 7)}, path)
    truncated(path, 0.5)
    with pytest.raises(UsageError, match=r"resnet18-5c106cde\.pth: is truncated"):
        build_model(small_config(offline, *RESNET))


def test_a_pretrain_path_that_is_missing_is_named_with_its_key(offline):
    cfg = small_config(offline, *RESNET, "MODEL.BACKBONE.PRETRAIN_PATH", "mine.pth")
    with pytest.raises(UsageError, match=r"PRETRAIN_PATH mine\.pth: no such weight file"):
        build_model(cfg)


def test_a_pretrain_path_with_code_is_refused(offline, monkeypatch):
    offline.mkdir()
    monkeypatch.chdir(offline)
    torch.save({"conv1.weight": Harmful()}, "mine.pth")
    cfg = small_config(offline, *RESNET, "MODEL.BACKBONE.PRETRAIN_PATH", "mine.pth")
    with pytest.raises(UsageError, match=r"mine\.pth: holds more than weights"):
        build_model(cfg)
    assert not os.path.exists("run-by-a-pickle")


@pytest.mark.parametrize("build", [stock_build_model, build_model], ids=["FastReID's", "ours"])
def test_building_a_backbone_exchanges_nothing_of_torchs_and_needs_no_gdown(offline, monkeypatch, build):
    before = torch.load, torch.hub.load_state_dict_from_url
    monkeypatch.setitem(sys.modules, "gdown", None)  # as if it was not installed

    def look(url, path, **options):
        assert (torch.load, torch.hub.load_state_dict_from_url) == before
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "download_url_to_file", look)
    with pytest.raises(UsageError, match="cannot be fetched"):
        build(small_config(offline, *RESNET))


CHOICES = {
    "checkpoints/resnet50_ibn_a-d9d0bb7b.pth": ["build_resnet_backbone", "50x", "WITH_IBN"],
    "checkpoints/se_resnet101_ibn_a-fabed4e2.pth": ["build_resnet_backbone", "101x", "WITH_IBN", "WITH_SE"],
    "checkpoints/resnext101_ibn_a-6ace051d.pth": ["build_resnext_backbone", "101x", "WITH_IBN"],
    "hub/checkpoints/resnest101-22405ba7.pth": ["build_resnest_backbone", "101x"],
    "checkpoints/osnet_ibn_x1_0_imagenet.pth": ["build_osnet_backbone", "x1_0", "WITH_IBN"],
    "checkpoints/RegNetY-1.6GF_dds_8gpu.pyth": ["build_regnet_backbone", "1600y"],
    "checkpoints/EN-B2_dds_8gpu.pyth": ["build_effnet_backbone", "b2"],
    "hub/checkpoints/mobilenet_v3_small-047dcff4.pth": ["build_mobilenetv3_backbone", "Small"],
}


@pytest.mark.parametrize("file", CHOICES)
def test_the_file_is_the_one_that_fastreid_would_take(offline, file):
    name, depth, *flags = CHOICES[file]
    options = [word for flag in flags for word in (f"MODEL.BACKBONE.{flag}", True)]
    cfg = small_config(offline, *RESNET, "MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.DEPTH", depth, *options)
    (offline / file).parent.mkdir(parents=True)
    (offline / file).touch()
    assert pretrained_file(cfg) == str(offline / file)


@pytest.mark.parametrize("name", ["build_vit_backbone", "build_repvgg_backbone", "build_mobilenetv2_backbone"])
def test_a_backbone_without_published_weights_asks_for_a_path(offline, name):
    with pytest.raises(UsageError, match=f"{name} has no pretrained weights: give MODEL.BACKBONE.PRETRAIN_PATH, or"):
        pretrained_file(small_config(offline, *RESNET, "MODEL.BACKBONE.NAME", name))


def test_a_builder_of_the_users_own_loads_its_weights_itself_unless_a_path_is_given(offline):
    asked = []

    def build_own_backbone(cfg):
        asked.append((cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.PRETRAIN))
        return nn.Sequential(nn.Conv2d(3, 512, 1))

    BACKBONE_REGISTRY.register(build_own_backbone)
    try:
        build_model(small_config(offline, *RESNET, "MODEL.BACKBONE.NAME", "build_own_backbone"))
        path = offline / "own.pth"
        offline.mkdir(exist_ok=True)
        torch.save({"0.weight": torch.ones(512, 3, 1, 1), "0.bias": torch.ones(512)}, path)
        options = ["MODEL.BACKBONE.NAME", "build_own_backbone", "MODEL.BACKBONE.PRETRAIN_PATH", str(path)]
        model = build_model(small_config(offline, *RESNET, *options))
    finally:
        BACKBONE_REGISTRY._obj_map.pop("build_own_backbone")
    assert asked == [("build_own_backbone", True), ("build_own_backbone", False)]
    assert model.backbone[0].weight.eq(1).all()


@pytest.mark.parametrize("build", [stock_build_model, build_model], ids=["FastReID's", "ours"])
def test_every_copy_of_a_stage_in_mgn_starts_from_the_file(offline, build):
    offline.mkdir()
    weights = resnet(50)
    torch.save(weights, offline / "resnet50.pth")
    options = ["MODEL.META_ARCHITECTURE", "MGN", "MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.FEAT_DIM", 2048]
    options += ["MODEL.HEADS.EMBEDDING_DIM", 16, "MODEL.BACKBONE.PRETRAIN_PATH", str(offline / "resnet50.pth")]
    options += ["INPUT.SIZE_TRAIN", [96, 32], "INPUT.SIZE_TEST", [96, 32]]
    model = build(small_config(offline, *RESNET, *options))
    assert torch.equal(model.backbone[0].weight, weights["conv1.weight"])
    for branch in (model.b1, model.b2, model.b3):
        assert torch.equal(branch[1][2].conv3.weight, weights["layer4.2.conv3.weight"])
