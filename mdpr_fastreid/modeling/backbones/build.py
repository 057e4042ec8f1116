"""FastReID's backbones, started from a weight file of any known kind."""

import logging
import math
from collections.abc import Callable

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.backbones import build_backbone as build_stock_backbone
from fastreid.modeling.backbones.vision_transformer import VisionTransformer, resize_pos_embed
from torch import nn

from mdpr_fastreid.modeling.backbones.timm_models import TimmBackbone
from mdpr_fastreid.weights import load_backbone
from mdpr_fastreid.weights.hub import normalisation_of_timm
from mdpr_fastreid.weights.pretrained import loads_by_itself, pretrained_file


def build_backbone(cfg: CfgNode) -> nn.Module:
    """The backbone of ``MODEL.BACKBONE``, which starts from its weights if ``PRETRAIN`` says so.

    The file (``PRETRAIN_PATH``, or FastReID's own) may be of any kind that :mod:`mdpr_fastreid.weights` knows, and is
    refused if it does not fit; FastReID's builders take what has their names, even if that is nothing.

    Raises:
        UsageError: the file is missing, cannot be fetched or read, or does not fit.
    """
    cfg = _with_own_builder(cfg)
    options = cfg.MODEL.BACKBONE
    if not options.PRETRAIN or loads_by_itself(cfg):
        return build_stock_backbone(cfg)
    backbone = build_stock_backbone(_changed(cfg, PRETRAIN=False))
    path = pretrained_file(cfg)
    load_backbone(backbone, path, options.get("PRETRAIN_SHA256", ""), _resizing(backbone))
    if isinstance(backbone, TimmBackbone) and not options.PRETRAIN_PATH:
        _warn_of_normalisation(cfg)
    return backbone


def _warn_of_normalisation(cfg: CfgNode) -> None:
    """Say so where timm's weights were trained on pixels of another mean, as half of its vision transformers were."""
    given = [list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)]
    theirs = normalisation_of_timm(cfg.MODEL.BACKBONE.TIMM.MODEL)
    if any(abs(one - other) > 1 for pair in zip(given, theirs, strict=True) for one, other in zip(*pair, strict=True)):
        mean, std = ([round(value, 2) for value in values] for values in theirs)
        logging.getLogger("fastreid").warning(
            f"the weights of {cfg.MODEL.BACKBONE.TIMM.MODEL} were trained with MODEL.PIXEL_MEAN {mean} and PIXEL_STD "
            f"{std}, and the config has {given[0]} and {given[1]}"
        )


@BACKBONE_REGISTRY.register()
def build_backbone_from_any_weights(cfg: CfgNode) -> nn.Module:
    """What FastReID's architectures get for a backbone from our ``build_model``; see :func:`with_any_weights`."""
    return build_backbone(cfg)


def with_any_weights(cfg: CfgNode) -> CfgNode:
    """A config whose backbone comes from :func:`build_backbone`, also in an architecture that asks FastReID for it.

    It is found by its name in the registry; the name that the config had is kept in ``MODEL.BACKBONE.BUILDER``.
    """
    options = cfg.MODEL.BACKBONE
    if not options.PRETRAIN or "BUILDER" in options:
        return cfg
    return _changed(cfg, BUILDER=options.NAME, NAME=build_backbone_from_any_weights.__name__)


def _with_own_builder(cfg: CfgNode) -> CfgNode:
    """The config that :func:`with_any_weights` was given."""
    builder = cfg.MODEL.BACKBONE.get("BUILDER")
    return _changed(cfg, NAME=builder) if builder else cfg


def _changed(cfg: CfgNode, **options: object) -> CfgNode:
    """A copy of a config with other values in ``MODEL.BACKBONE``."""
    cfg = cfg.clone()
    cfg.defrost()
    for name, value in options.items():
        cfg.MODEL.BACKBONE[name] = value
    return cfg


def _resizing(backbone: nn.Module) -> Callable[[str, torch.Tensor], torch.Tensor] | None:
    """Position embeddings of a vision transformer for another image size, as its builder makes them."""
    if isinstance(backbone, TimmBackbone):
        return backbone.resized_weight
    if not isinstance(backbone, VisionTransformer):
        return None

    def resized(name: str, value: torch.Tensor) -> torch.Tensor:
        if name != "pos_embed" or math.isqrt(value.shape[1] - 1) ** 2 != value.shape[1] - 1:
            return value
        grid = backbone.patch_embed
        return resize_pos_embed(value, backbone.pos_embed.data, grid.num_y, grid.num_x)

    return resized
