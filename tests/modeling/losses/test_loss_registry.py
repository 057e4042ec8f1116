"""The registry of losses."""

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling.heads import EmbeddingHead
from torch import nn

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.losses import LOSS_REGISTRY, build_identity_losses, build_loss


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


def config_with(*names):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.LOSSES.NAME", names, "MODEL.HEADS.NUM_CLASSES", 4, "MODEL.BACKBONE.FEAT_DIM", 8])
    return cfg


class HeadWithLosses(nn.Module):
    """A head of somebody's own, whose losses are those of ``MODEL.LOSSES.NAME``."""

    def __init__(self, cfg):
        super().__init__()
        self.head = EmbeddingHead(cfg)
        self.losses = build_identity_losses(cfg)

    def forward(self, maps, targets):
        return self.losses(self.head(maps, targets), targets)


def test_any_head_computes_the_losses_of_a_config():
    torch.manual_seed(0)
    head = HeadWithLosses(config_with("TripletLoss", "CrossEntropyLoss")).train()
    maps, targets = torch.randn(6, 8, 3, 2), torch.tensor([0, 0, 1, 1, 2, 2])
    losses = head(maps, targets)
    output = head.head(maps, targets)
    assert list(losses) == ["triplet", "cls"]
    torch.testing.assert_close(losses["cls"], build_loss("CrossEntropyLoss", get_cfg())(output["cls_outputs"], targets))
    torch.testing.assert_close(losses["triplet"], build_loss("TripletLoss", get_cfg())(output["features"], targets))
    sum(losses.values()).backward()
    assert head.head.weight.grad.abs().sum() > 0


def test_losses_that_take_something_else_are_left_out():
    losses = build_identity_losses(config_with("TripletLoss", "CrossEntropyLoss"))
    assert list(losses({"cls_outputs": torch.randn(2, 4)}, torch.tensor([0, 1]), takes=("logits",))) == ["cls"]


@pytest.mark.parametrize("takes", [None, "logit", "attention"])
def test_a_loss_that_does_not_say_what_an_identity_head_can_give_it_is_refused_when_it_is_built(takes):
    class Odd(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            if takes:
                self.takes = takes

    LOSS_REGISTRY.register(Odd)
    try:
        with pytest.raises(SettingsError, match="MODEL.LOSSES.NAME: Odd .*the head EmbeddingHead gives") as raised:
            build_identity_losses(config_with("CrossEntropyLoss", "Odd"))
    finally:
        LOSS_REGISTRY._obj_map.pop("Odd")
    assert "\n" not in str(raised.value)


def test_a_loss_that_no_identity_head_feeds_is_refused_by_name():
    with pytest.raises(SettingsError, match="AttentionAreaLoss does not say in `takes` what it takes"):
        build_identity_losses(config_with("AttentionAreaLoss"))


def test_a_head_that_gives_logits_alone_refuses_a_loss_on_embeddings():
    with pytest.raises(SettingsError, match="TripletLoss takes 'embedding', and the head EmbeddingHead gives 'logits'"):
        build_identity_losses(config_with("TripletLoss"), feeds=("logits",))
