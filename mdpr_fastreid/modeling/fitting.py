"""Whether FastReID's own heads fit the maps that a backbone gives; found when a model is built."""

import copy

import torch
from fastreid.config import CfgNode
from fastreid.modeling.heads import EmbeddingHead
from fastreid.modeling.meta_arch import MGN, Baseline, Distiller, MoCo
from torch import nn
from torch.func import functional_call

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.backbones.image_sizes import image_sizes

_READ_LAST_MAP = (Baseline, MoCo, Distiller)
_POOLS_POSITIVE_VALUES = ("GeneralizedMeanPooling", "GeneralizedMeanPoolingP", "ClipGlobalAvgPool")


def check_heads(cfg: CfgNode, model: nn.Module) -> None:
    """Refuse a head that reads another number of channels than the backbone gives, or takes negative values for zero.

    Of ``MGN``, images whose maps it cannot cut into three stripes. Models that are neither ``MGN`` nor
    FastReID's ``Baseline``, ``MoCo`` or ``Distiller`` with its ``EmbeddingHead`` pass.

    Args:
        cfg: of the model.
        model: as it was built; stays as it is.

    Raises:
        SettingsError: ``FEAT_DIM`` or ``POOL_LAYER`` is another than the backbone needs; it names the right one. Or the
            images are too low.
    """
    if isinstance(model, MGN):
        _check_stripes(cfg, model)
    if type(model) not in _READ_LAST_MAP or not isinstance(model.heads, EmbeddingHead):
        return
    options = cfg.MODEL.BACKBONE
    channels = map_channels(model.backbone, image_sizes(cfg).train.size)
    if channels not in (None, options.FEAT_DIM):
        raise SettingsError(
            f"MODEL.BACKBONE.FEAT_DIM is {options.FEAT_DIM}, but the maps of {options.NAME} have {channels} channels: "
            f"set it to {channels}"
        )
    pool = cfg.MODEL.HEADS.POOL_LAYER
    if getattr(model.backbone, "has_negative_values", False) and pool in _POOLS_POSITIVE_VALUES:
        raise SettingsError(
            f"MODEL.HEADS.POOL_LAYER {pool} takes negative values for zero, and the maps of "
            f"{options.TIMM.MODEL} have some: set it to GlobalAvgPool"
        )


def _check_stripes(cfg: CfgNode, model: MGN) -> None:
    """Refuse sizes of images for ``MGN``, whose stripes are ``torch.chunk``'s: of four rows it makes two, not three."""
    for key, value, size, _ in image_sizes(cfg):
        maps = torch.empty(2, 3, *size, device="meta")
        for part in (model.backbone, model.b3):
            tensors = (*part.named_parameters(), *part.named_buffers())
            maps = functional_call(part, {name: tensor.to("meta") for name, tensor in tensors}, (maps,))
        if len(maps.chunk(3, dim=2)) != 3:
            raise SettingsError(
                f"{key} {list(value)}: MGN cuts its maps into three stripes, and these images' have too few rows, "
                f"{maps.size(2)}: make them 96 or higher"
            )


def map_channels(backbone: nn.Module, size: tuple[int, int]) -> int | None:
    """Channels of the maps that a backbone gives, found without computing anything; None where that does not work.

    Args:
        backbone: ``[B, 3, H, W]`` -> ``[B, C, h, w]``; stays as it is.
        size: height and width of the images, as :func:`~mdpr_fastreid.modeling.image_sizes` finds them.
    """
    known = getattr(backbone, "channels", None)
    if known is not None:
        return known
    try:
        with torch.no_grad():
            maps = copy.deepcopy(backbone).to("meta").eval()(torch.empty(1, 3, *size, device="meta"))
    except Exception:  # a backbone of the user's own may do anything
        return None
    return maps.size(1) if isinstance(maps, torch.Tensor) and maps.dim() == 4 else None
