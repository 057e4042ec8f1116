"""Models: where they are built, what RegNet reads, and what a forward pass does to its batch."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastreid
import torch
from fastreid.config import CfgNode

from mdpr_fastreid.compat.patching import Patch


def _build_model(stock: Callable) -> Callable:
    def build_model(cfg: CfgNode) -> torch.nn.Module:
        from mdpr_fastreid.modeling import build_model as our_build_model

        return our_build_model(cfg)

    build_model.__doc__ = stock.__doc__
    return build_model


def _merge_from_file(stock: Callable) -> Callable:
    settings = stock.__self__
    defaults = settings.clone()

    def merge_from_file(cfg_filename: str) -> None:
        packaged = Path(fastreid.__file__).parent.parent / cfg_filename
        settings.merge_from_other_cfg(defaults)
        stock(cfg_filename if Path(cfg_filename).exists() else str(packaged))

    return merge_from_file


def _get_norm(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def get_norm(norm: str | Callable, out_channels: int, **options: Any) -> torch.nn.Module | None:
        if norm == "syncBN":
            from mdpr_fastreid.modeling.layers import SyncBatchNorm

            norm = SyncBatchNorm
        return stock(norm, out_channels, **options)

    return get_norm


def normalized_images(self: torch.nn.Module, batched_inputs: dict | torch.Tensor) -> torch.Tensor:
    """The batch's images, ``[B, C, H, W]`` in 0 .. 255, less ``pixel_mean``, over ``pixel_std``, as a new tensor.

    Raises:
        TypeError: the input is neither a batch dict nor a tensor.
        SettingsError: the batch has no images.
    """
    from mdpr_fastreid.modeling.images import images_of

    images = images_of(batched_inputs)
    if not isinstance(images, torch.Tensor):
        raise TypeError(f"expected a batch dict or a tensor of images, got {type(batched_inputs).__name__}")
    return (images - self.pixel_mean).div_(self.pixel_std)


def _preprocess_image(architecture: str, source: str) -> Patch:
    return Patch(
        target=f"fastreid.modeling.meta_arch.{architecture}.preprocess_image",
        fixes="It normalises the caller's images in place, so that flip testing normalises the same batch twice.",
        since="every version",
        until="FastReID's preprocess_image returns a new tensor",
        source=source,
        make=lambda stock: normalized_images,
    )


PATCHES = (
    Patch(
        target="fastreid.modeling.meta_arch.build:build_model",
        fixes=(
            "MODEL.DEVICE cuda, the default, fails without CUDA; pretrained weights that do not fit are left out "
            "without a word; Distiller cannot build MDPR."
        ),
        since="every version",
        until="FastReID chooses a device, and reports pretrained weights that are missing or do not fit",
        source="c1925573e368",
        make=_build_model,
    ),
    Patch(
        target="fastreid.modeling.backbones.regnet.config:cfg.merge_from_file",
        fixes=(
            "RegNet and EfficientNet read their settings by a path that exists in a checkout's folder only; and a "
            "RegNetX that is built after a RegNetY has squeeze-and-excitation, as the settings are global."
        ),
        since="every version",
        until="FastReID looks beside its own modules, and reads settings anew for each network",
        source="612642faee3e",
        source_of="fastreid.modeling.backbones.regnet.regnet:build_regnet_backbone",
        make=_merge_from_file,
    ),
    Patch(
        target="fastreid.layers.batch_norm:get_norm",
        fixes="syncBN cannot be trained by several processes without CUDA.",
        since="every version",
        until="PyTorch's SyncBatchNorm, and DistributedDataParallel with it, take tensors on a CPU",
        source="1fe2841fcf1c",
        make=_get_norm,
    ),
    _preprocess_image("baseline:Baseline", "2d1872aa6f01"),
    _preprocess_image("mgn:MGN", "ed71059a0980"),
)
