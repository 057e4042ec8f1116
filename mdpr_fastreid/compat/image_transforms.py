"""Transforms that torchvision, NumPy or Pillow no longer build or run.

* ``RandomAffine(resample=, fillcolor=)``: renamed, the old names removed in torchvision 0.15.
* ``to_tensor``: ``np.array(image, copy=False)`` raises since NumPy 2.0 (images of mode I, I;16, F, 1), and
  ``ByteStorage.from_buffer`` warns since PyTorch 2.0.

Can go when FastReID's transforms use the current names.
"""

from types import ModuleType
from typing import Any

import numpy as np
import torch
import torchvision.transforms as T
from fastreid.data.transforms import build as transforms_build
from fastreid.data.transforms import functional
from PIL import Image

from mdpr_fastreid.compat.replacing import replace


def apply() -> None:
    """Mend ``build_transforms`` and ``to_tensor``."""
    transforms_build.T = _TorchvisionTransforms("torchvision.transforms")
    replace(functional, "to_tensor", to_tensor)


class _TorchvisionTransforms(ModuleType):
    """``torchvision.transforms`` as ``build_transforms`` expects to find it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(T, name)

    @staticmethod
    def RandomAffine(*args: Any, resample: Any = None, fillcolor: Any = 0, **kwargs: Any) -> T.RandomAffine:
        """Today's ``RandomAffine`` from the old argument names; ``resample`` False meant nearest."""
        interpolation = resample or T.InterpolationMode.NEAREST
        return T.RandomAffine(*args, interpolation=interpolation, fill=fillcolor, **kwargs)


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


to_tensor.__wrapped__ = functional.to_tensor
