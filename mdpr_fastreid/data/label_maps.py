"""Label maps that follow an image through ``torchvision.transforms.v2`` to the pixel."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F


class LabelMap(tv_tensors.Mask):
    """Labels ``[1, H, W]`` in uint8. Where v2's masks are a pixel beside the image, it has kernels of its own."""


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
