"""The registry of losses."""

import pytest
import torch
from fastreid.config import get_cfg
from torch import nn

from mdpr_fastreid.modeling.losses import LOSS_REGISTRY, build_loss


def test_every_loss_is_built_from_a_config_with_its_settings():
    cfg = get_cfg()
    cfg.MODEL.LOSSES.CE.EPSILON = 0.2
    cfg.MODEL.LOSSES.TRI.MARGIN = 0.7
    cfg.MODEL.MDPR.ATTENTION.DIVERSITY_SCALE = 0.3
    cfg.MODEL.MDPR.ATTENTION.AREA_SCALE = 0.4
    cfg.MODEL.MDPR.DISTILL.SCALE = 0.5
    assert build_loss("CrossEntropyLoss", cfg).epsilon == 0.2
    assert build_loss("TripletLoss", cfg).margin == 0.7
    assert build_loss("AttentionDiversityLoss", cfg).scale == 0.3
    assert build_loss("AttentionAreaLoss", cfg).scale == 0.4
    assert build_loss("MutualDistillationLoss", cfg).scale == 0.5


def test_an_unknown_loss_is_named_with_the_nearest_that_exists():
    with pytest.raises(KeyError, match="'TripetLoss' in LOSS; did you mean TripletLoss"):
        build_loss("TripetLoss", get_cfg())


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "TripletLoss"])
def test_losses_run_without_reading_a_value_on_the_host(name):
    # A tensor on the meta device has no values: whatever asked for one would raise.
    vectors = torch.empty(6, 4, device="meta")
    loss = build_loss(name, get_cfg())(vectors, torch.empty(6, dtype=torch.long, device="meta"))
    assert loss.shape == () and loss.device.type == "meta"


def test_a_loss_of_the_users_own_joins_by_name():
    class Half(nn.Module):
        takes = "embedding"

        def __init__(self, cfg):
            super().__init__()

        def forward(self, embedding, targets):
            return embedding.sum() / 2

    LOSS_REGISTRY.register(Half)
    try:
        assert build_loss("Half", get_cfg())(torch.ones(2, 2), None).item() == 2
    finally:
        LOSS_REGISTRY._obj_map.pop("Half")
