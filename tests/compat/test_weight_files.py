"""Weight files are read without running code, and a bad one is named."""

import os

import pytest
import torch
from fastreid.modeling import build_model
from small_runs import small_config

from mdpr_fastreid.errors import UsageError


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("run-by-a-pickle",))


def truncated(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


RESNET = ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "18x", "MODEL.HEADS.NUM_CLASSES", 2]
RESNET += ["MODEL.BACKBONE.FEAT_DIM", 512, "MODEL.BACKBONE.PRETRAIN", True]


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A cache folder of our own, and a network that is not there."""

    def refuse(url, *args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "home"


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
    with pytest.raises(UsageError, match=r"PRETRAIN_PATH mine\.pth: no such file"):
        build_model(cfg)


def test_a_pretrain_path_with_code_is_refused(offline, monkeypatch):
    offline.mkdir()
    monkeypatch.chdir(offline)
    torch.save({"conv1.weight": Harmful()}, "mine.pth")
    cfg = small_config(offline, *RESNET, "MODEL.BACKBONE.PRETRAIN_PATH", "mine.pth")
    with pytest.raises(UsageError, match=r"mine\.pth: holds more than weights"):
        build_model(cfg)
    assert not os.path.exists("run-by-a-pickle")


def test_building_a_backbone_leaves_torch_and_gdown_as_they_were(offline):
    import sys

    before = torch.load, torch.hub.load_state_dict_from_url, sys.modules.get("gdown")
    with pytest.raises(UsageError):
        build_model(small_config(offline, *RESNET))
    assert before[:2] == (torch.load, torch.hub.load_state_dict_from_url)
    assert "download" in vars(sys.modules["gdown"])
    assert sys.modules["gdown"].__spec__ is not None
