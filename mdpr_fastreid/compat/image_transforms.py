"""FastReID's transforms with the names that torchvision and NumPy have today.

The plugin's own trainer has transforms of its own, see ``data/transforms.py``.
"""

import functools
import inspect
from collections.abc import Callable

import numpy as np
import torch
import torchvision.transforms as T
from fastreid.config import CfgNode
from PIL import Image

from mdpr_fastreid.compat.patching import Patch


def _with_affine(stock_build: Callable) -> Callable:
    @functools.wraps(stock_build)
    def build_transforms(cfg: CfgNode, is_train: bool = True) -> T.Compose:
        if not (is_train and cfg.INPUT.AFFINE.ENABLED):
            return stock_build(cfg, is_train)
        without = cfg.clone()
        without.defrost()
        without.INPUT.AFFINE.ENABLED = False
        steps = stock_build(without, is_train).transforms
        # What follows it in stock: AugMix, and everything from the tensor on
        after = ("AugMix", "ToTensor")
        place = next(number for number, step in enumerate(steps) if type(step).__name__ in after)
        steps.insert(place, T.RandomAffine(degrees=10, scale=[0.9, 1.1], shear=0.1))
        return T.Compose(steps)

    return build_transforms


def _without_copy_argument(stock_to_tensor: Callable) -> Callable:
    @functools.wraps(stock_to_tensor)
    def to_tensor(pic: Image.Image | np.ndarray) -> torch.Tensor:
        """An image as a ``[C, H, W]`` tensor; 8-bit images as floats in 0 .. 255, others in their own type.

        Args:
            pic: a Pillow image of any mode, or an array ``[H, W]`` or ``[H, W, C]``.
        """
        pixels = pic if isinstance(pic, np.ndarray) else np.array(pic)
        if pixels.dtype == np.bool_:  # Pillow's mode "1"
            pixels = pixels.astype(np.uint8) * 255
        elif pixels.dtype == np.uint16:  # torch has no arithmetic for it; stock reads I;16 as signed too
            pixels = pixels.astype(np.int16)
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return image.float() if image.dtype == torch.uint8 else image

    return to_tensor


PATCHES = (
    Patch(
        target="fastreid.data.transforms.build:build_transforms",
        fixes="INPUT.AFFINE fails: RandomAffine has no arguments resample and fillcolor any more.",
        since="torchvision 0.15",
        until="FastReID calls them interpolation and fill",
        source="b0bbcf8016d0",
        make=_with_affine,
        needed=lambda: "resample" not in inspect.signature(T.RandomAffine).parameters,
    ),
    Patch(
        target="fastreid.data.transforms.functional:to_tensor",
        fixes="Images of mode I, I;16, F and 1 fail (np.array with copy=False), and all others warn.",
        since="NumPy 2.0 and PyTorch 2.0",
        until="FastReID uses np.asarray and torch.from_numpy",
        source="7d391ea774e3",
        make=_without_copy_argument,
    ),
)
