"""MGN on ResNet-18; on ResNet-50 it is FastReID's own."""

import sys
from pathlib import Path

import pytest
import torch
from fastreid.utils.events import EventStorage

from mdpr_fastreid.config import read_config
from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling import build_model

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))

import small_mgn  # noqa: E402, F401  (registers the method)

SMALL = ["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 4, "MODEL.HEADS.EMBEDDING_DIM", 8, "MODEL.FREEZE_LAYERS", []]


def model_of(*overrides):
    torch.manual_seed(0)
    return build_model(read_config(PROJECT / "configs/mgn_r18.yml", [*SMALL, *overrides]))


def batch_of():
    images = torch.rand(8, 3, 128, 64, generator=torch.Generator().manual_seed(0)) * 255
    return {"images": images, "targets": torch.arange(8) // 2}


def losses_of(model):
    with EventStorage(0):
        return model.train()(batch_of())


@pytest.mark.parametrize("last_stride", [1, 2])
def test_on_resnet_50_it_is_fastreids(last_stride):
    deep = ["MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.FEAT_DIM", 2048, "MODEL.BACKBONE.LAST_STRIDE", last_stride]
    ours, theirs = model_of(*deep), model_of(*deep, "MODEL.META_ARCHITECTURE", "MGN")
    theirs.load_state_dict(ours.state_dict())
    expected = losses_of(theirs)
    found = losses_of(ours)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with torch.no_grad():
        assert torch.equal(ours.eval()(batch_of()["images"]), theirs.eval()(batch_of()["images"]))


def test_resnet_18_trains_each_of_its_three_branches():
    model = model_of()
    sum(losses_of(model).values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.requires_grad)
    branches = [model.b1, model.b2, model.b3]
    weights = [branch[1][0].conv1.weight for branch in branches]
    assert all(weight.grad.abs().sum() > 0 for weight in weights)
    assert len({weight.data_ptr() for weight in weights}) == 3
    with torch.no_grad():
        assert model.eval()(batch_of()["images"]).shape == (8, 64)


def test_every_branch_begins_with_the_pretrained_weights(tmp_path):
    pretrained = model_of("MODEL.META_ARCHITECTURE", "Baseline").backbone
    torch.nn.init.constant_(pretrained.layer3[-1].conv2.weight, 0.25)
    torch.nn.init.constant_(pretrained.layer4[-1].conv2.weight, 0.5)
    torch.save(pretrained.state_dict(), tmp_path / "resnet18.pth")
    path = str(tmp_path / "resnet18.pth")
    model = model_of("MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", path)
    for branch in (model.b1, model.b2, model.b3):
        assert (branch[0][-1].conv2.weight == 0.25).all()
        assert (branch[1][-1].conv2.weight == 0.5).all()


def test_another_backbone_is_refused():
    with pytest.raises(
        SettingsError, match="SmallMGN takes stages 3 and 4 of FastReID's ResNet apart, and OSNet has none such"
    ):
        model_of("MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x1_0")
