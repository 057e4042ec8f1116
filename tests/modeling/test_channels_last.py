"""MODEL.CHANNELS_LAST: the layout of every map in training, in any architecture."""

import pytest
import torch
from fastreid.utils.events import EventStorage
from torch import nn

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.modeling.channels_last import store_channels_last
from tests.support.settings import small_config

STOCK = ["MODEL.HEADS.NAME", "EmbeddingHead", "MODEL.BACKBONE.FEAT_DIM", 512, "MODEL.QUEUE_SIZE", 8]
ARCHITECTURES = {
    "MDPR": [],
    "Baseline": ["MODEL.META_ARCHITECTURE", "Baseline", *STOCK],
    "MoCo": ["MODEL.META_ARCHITECTURE", "MoCo", *STOCK],
}


@pytest.mark.parametrize("switched_on", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_maps_are_stored_so_in_training_and_plain_in_evaluation(architecture, switched_on):
    model = build_model(small_config(*ARCHITECTURES[architecture], "MODEL.CHANNELS_LAST", switched_on))
    layouts = []

    def note(module, inputs, outputs):
        layouts.append(outputs.is_contiguous(memory_format=torch.channels_last))

    for module in model.backbone.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    batch = {"images": torch.rand(8, 3, 96, 48) * 255, "targets": torch.arange(8) // 2}
    with EventStorage(0):
        model.train()(batch)
    assert layouts and all(layout == switched_on for layout in layouts)
    assert batch["images"].is_contiguous()
    layouts.clear()
    with torch.no_grad():
        model.eval()(batch["images"])
    assert layouts and not any(layouts)


def test_models_in_a_model_have_it_too():
    model = nn.ModuleDict({"student": nn.ModuleDict({"backbone": nn.Conv2d(3, 4, 3)})})
    store_channels_last(model)
    images = torch.rand(2, 3, 8, 8)
    assert model["student"]["backbone"](images).is_contiguous(memory_format=torch.channels_last)
    assert model["student"]["backbone"].eval()(images).is_contiguous()


def test_a_model_without_a_backbone_is_refused():
    with pytest.raises(SettingsError, match="MODEL.CHANNELS_LAST is for models with a backbone, and Linear has none"):
        store_channels_last(nn.Linear(1, 1))
