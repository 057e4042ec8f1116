"""Every other backbone, classification layer and loss of the stock toolbox runs forward and backward."""

import pytest
import torch
from fastreid.layers import any_softmax, pooling
from fastreid.modeling import build_model
from fastreid.modeling.backbones import build_backbone
from fastreid.utils.events import EventStorage
from small_runs import small_config

BACKBONES = {
    "build_effnet_backbone": "b0",
    "build_mobilenetv2_backbone": "1.0x",
    "build_mobilenetv3_backbone": "Large",
    "build_regnet_backbone": "400x",
    "build_repvgg_backbone": "A0",
    "build_resnext_backbone": "50x",
    "build_shufflenetv2_backbone": "1.0x",
}
LOSSES = ["CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface"]


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_runs(tmp_path, name):
    options = ["MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.DEPTH", BACKBONES[name]]
    backbone = build_backbone(small_config(tmp_path, *options)).train()
    features = backbone(torch.rand(2, 3, 64, 32))
    features.square().mean().backward()
    assert features.dim() == 4
    gradients = [p.grad for p in backbone.parameters() if p.requires_grad]
    assert sum(g is not None and bool(g.isfinite().all()) for g in gradients) == len(gradients)


def loss_values(tmp_path, *options):
    torch.manual_seed(0)
    model = build_model(small_config(tmp_path, "MODEL.HEADS.NUM_CLASSES", 4, *options)).train()
    with EventStorage():
        losses = model({"images": torch.rand(8, 3, 32, 16) * 255, "targets": torch.arange(8) % 4})
    sum(losses.values()).backward()
    assert model.backbone[0].weight.grad.abs().sum() > 0
    return losses


@pytest.mark.parametrize("layer", any_softmax.__all__)
def test_a_classification_layer_runs(tmp_path, layer):
    options = ["MODEL.HEADS.CLS_LAYER", layer, "MODEL.HEADS.SCALE", 16, "MODEL.HEADS.MARGIN", 0.2]
    assert loss_values(tmp_path, *options)["loss_cls"].isfinite()


@pytest.mark.parametrize("layer", [name for name in pooling.__all__ if name not in ("Flatten", "Identity")])
def test_a_pooling_layer_runs(tmp_path, layer):
    assert all(loss.isfinite() for loss in loss_values(tmp_path, "MODEL.HEADS.POOL_LAYER", layer).values())


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_runs(tmp_path, loss):
    values = loss_values(tmp_path, "MODEL.LOSSES.NAME", (loss,), "MODEL.LOSSES.CIRCLE.GAMMA", 16)
    assert len(values) == 1
    assert all(value.isfinite() for value in values.values())


@pytest.mark.parametrize("norm", ["BN", "syncBN", "GhostBN", "FrozenBN"])
def test_a_normalisation_runs(tmp_path, norm):
    assert loss_values(tmp_path, "MODEL.BACKBONE.NORM", norm)["loss_cls"].isfinite()
