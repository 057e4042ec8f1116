"""Label maps that follow an image through ``torchvision.transforms.v2`` to the pixel."""

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F


class LabelMap(tv_tensors.Mask):
    """Labels ``[1, H, W]`` in uint8. Where v2's masks are a pixel beside the image, it has kernels of its own."""

    mirrored: ClassVar[Tensor | None] = None
    """The label that each of the 256 labels becomes in a horizontal flip; None if it stays."""


class UnlabelledMap(LabelMap):
    """The map of an image of which no label is known: only its size counts."""


@cache
def label_map_class(mirror: Sequence[tuple[int, int]]) -> type[LabelMap]:
    """Label maps of which a horizontal flip swaps these pairs of labels; v2 keeps no more of a map than its class."""
    if not mirror:
        return LabelMap
    mirrored = torch.arange(256, dtype=torch.uint8)
    for left, right in mirror:
        mirrored[left], mirrored[right] = right, left
    return type("MirroredLabelMap", (LabelMap,), {"mirrored": mirrored})


@F.register_kernel(F.horizontal_flip, LabelMap)
def _horizontal_flip(labels: LabelMap) -> LabelMap:
    """As the image, and what was left is right then."""
    flipped = labels.as_subclass(Tensor).flip(-1)
    if labels.mirrored is not None:
        flipped = labels.mirrored[flipped.int()]
    return tv_tensors.wrap(flipped, like=labels)


@F.register_kernel(F.resize, LabelMap)
def _resize(labels: LabelMap, size: list[int], *_, **__) -> LabelMap:
    """Labels at the centres of the new pixels; v2 takes those at their upper left corners."""
    resized = F.resize_image(labels.as_subclass(Tensor), size, InterpolationMode.NEAREST_EXACT)
    return tv_tensors.wrap(resized, like=labels)


@F.register_kernel(F.resized_crop, LabelMap)
def _resized_crop(
    labels: LabelMap, top: int, left: int, height: int, width: int, size: list[int], *_, **__
) -> LabelMap:
    return _resize(F.crop(labels, top, left, height, width), size)


@F.register_kernel(F.affine, LabelMap)
def _affine(labels: LabelMap, *args, **kwargs) -> LabelMap:
    """By Pillow, as the image: v2's tensors round to other pixels here and there."""
    moved = F.affine(Image.fromarray(labels[0].numpy()), *args, **kwargs)
    return tv_tensors.wrap(torch.from_numpy(np.array(moved))[None], like=labels)
