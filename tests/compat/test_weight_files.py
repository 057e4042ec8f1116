"""Weight files are read without running code, and a bad one is named."""

import collections
import os

import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from fastreid.utils.checkpoint import Checkpointer
from small_runs import logged_by_fastreid, small_config
from torch import nn

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import load_weight_file


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("run-by-a-pickle",))


def truncated(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def test_plain_values_counters_and_arrays_are_read(tmp_path):
    stored = {
        "model": {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "mask": np.array([True])},
        "metric": np.float64(12.5),
        "epoch": np.int64(3),
        "milestones": collections.Counter([30, 55]),
        "order": collections.OrderedDict(a=torch.ones(2)),
    }
    torch.save(stored, tmp_path / "stock.pth")
    read = load_weight_file(tmp_path / "stock.pth")
    assert (read["metric"], read["epoch"], read["milestones"]) == (12.5, 3, stored["milestones"])
    np.testing.assert_array_equal(read["model"]["weight"], stored["model"]["weight"])


def test_a_state_of_numpy_arrays_is_loaded_into_a_model(tmp_path):
    model = nn.Linear(3, 2)
    torch.save({"model": {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2, np.float32)}}, tmp_path / "a.pth")
    Checkpointer(model).load(str(tmp_path / "a.pth"))
    assert model.weight.eq(1).all()


def test_a_file_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Harmful()}, "harmful.pth")
    with pytest.raises(UsageError, match=r"harmful\.pth: holds more than weights"):
        Checkpointer(nn.Linear(1, 1)).load("harmful.pth")
    assert not os.path.exists("run-by-a-pickle")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_truncated_checkpoint_is_named(tmp_path, share):
    path = tmp_path / "model_final.pth"
    torch.save({"model": {"weight": torch.rand(100, 100)}}, path)
    with pytest.raises(UsageError, match=r"model_final\.pth: is truncated"):
        Checkpointer(nn.Linear(1, 1)).load(str(truncated(path, share)))


def test_a_file_of_something_else_is_named(tmp_path):
    (tmp_path / "notes.pth").write_text("not weights")
    with pytest.raises(UsageError, match=r"notes\.pth: is truncated or not a file of torch\.save"):
        load_weight_file(tmp_path / "notes.pth")


def test_without_a_checkpoint_nothing_is_claimed_of_where_the_weights_are_from(tmp_path):
    with logged_by_fastreid() as messages:
        assert Checkpointer(nn.Linear(2, 2), str(tmp_path)).resume_or_load("", resume=True) == {}
    assert [message for message in messages if "scratch" in message] == []
    assert any("No checkpoint: training begins with its first iteration" in message for message in messages)


def test_a_missing_checkpoint_is_named_with_its_key(tmp_path):
    with pytest.raises(UsageError, match=r"none\.pth: no such weight file \(MODEL\.WEIGHTS"):
        Checkpointer(nn.Linear(1, 1)).load(str(tmp_path / "none.pth"))


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
