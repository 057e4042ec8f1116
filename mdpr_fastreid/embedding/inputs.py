"""Images as people have them, each as what reads it: files, folders, PIL images, arrays, tensors, and iterables."""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from mdpr_fastreid.data import listing
from mdpr_fastreid.data.reading import read_image
from mdpr_fastreid.errors import UsageError

Read = Callable[[], Image.Image | torch.Tensor]
"""Gives a picture in RGB, or pixels ``[3, H, W]`` in RGB from 0 to 255; called in a thread."""

_KINDS = "a path, a folder, a PIL image, a NumPy array [H, W, 3] in uint8, a tensor [3, H, W], or an iterable of these"


def images_below(folder: str | os.PathLike) -> list[str]:
    """Paths of the images in a folder and all folders in it, relative to it with ``/``, sorted.

    What is no image by its suffix is left out, and so is what begins with a dot.

    Raises:
        UsageError: it is no folder, or cannot be read.
    """
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is no folder")
    start = len(str(Path(folder, "x"))) - 1
    try:
        return sorted(path[start:].replace(os.sep, "/") for path in listing.images_below(folder))
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read ({error.strerror})") from error


def reads_of(images: Any, bgr: bool = False) -> Iterable[Read]:
    """What reads each of the images, in their order; with a length wherever ``images`` has one.

    Args:
        images: a file or a folder of images, a PIL image, an array ``[H, W, 3]`` or ``[N, H, W, 3]`` in uint8, a
            tensor ``[3, H, W]`` or ``[N, 3, H, W]``, in uint8 or in float from 0 to 255, or an iterable of these.
        bgr: whether arrays and tensors have their colours in OpenCV's order.

    Raises:
        UsageError: something else; of an iterator, once it is reached.
    """
    if isinstance(images, (list, tuple)):
        return list(chain.from_iterable(_reads(one, bgr) for one in images))
    if isinstance(images, (str, os.PathLike, Image.Image, np.ndarray, torch.Tensor)):
        return _reads(images, bgr)
    if isinstance(images, Iterable):
        return _reads_later(images, bgr)
    raise UsageError(f"images must be {_KINDS}, got {type(images).__name__}")


def _reads_later(images: Iterable, bgr: bool) -> Iterator[Read]:
    for one in images:
        yield from _reads(one, bgr)


def _reads(one: Any, bgr: bool) -> list[Read]:
    if isinstance(one, (str, os.PathLike)):
        return _of_path(os.fspath(one))
    if isinstance(one, Image.Image):
        return [lambda: _upright(one)]
    if isinstance(one, np.ndarray):
        return [_of_array(picture, bgr) for picture in _each_array(one)]
    if isinstance(one, torch.Tensor):
        return [_of_tensor(picture, bgr) for picture in _each_tensor(one)]
    raise UsageError(f"images must be {_KINDS}, got {type(one).__name__}")


def _of_path(path: str) -> list[Read]:
    if not os.path.isdir(path):
        return [lambda: read_image(path)]
    names = images_below(path)
    if not names:
        raise UsageError(f"{path} holds no images ({', '.join(sorted(listing.IMAGE_SUFFIXES))})")
    return [lambda name=name: read_image(os.path.join(path, name)) for name in names]


def _upright(image: Image.Image) -> Image.Image:
    if image.mode in ("F", "I") or image.mode.startswith("I;"):
        raise UsageError(f"a PIL image of mode {image.mode} has no 8 bits a channel: convert it, e.g. by image.point")
    turned = ImageOps.exif_transpose(image)
    return turned if turned.mode == "RGB" else turned.convert("RGB")


def _each_array(array: np.ndarray) -> list[np.ndarray]:
    if array.dtype != np.uint8:
        raise UsageError(f"an array of pixels must be uint8, 0 to 255, got {array.dtype}")
    if array.size == 0 or array.ndim not in (2, 3, 4) or (array.ndim > 2 and array.shape[-1] != 3):
        raise UsageError(f"an array of pixels must be [H, W, 3], [N, H, W, 3] or [H, W] (grey), got {array.shape}")
    return list(array) if array.ndim == 4 else [array]


def _of_array(array: np.ndarray, bgr: bool) -> Read:
    if array.ndim == 2:
        return lambda: Image.fromarray(array).convert("RGB")
    return lambda: Image.fromarray(np.ascontiguousarray(array[..., ::-1] if bgr else array))


def _each_tensor(tensor: torch.Tensor) -> list[torch.Tensor]:
    if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
        raise UsageError(f"a tensor of pixels must be uint8 or in floating point, 0 to 255, got {tensor.dtype}")
    if tensor.numel() == 0 or tensor.ndim not in (3, 4) or tensor.shape[-3] != 3:
        raise UsageError(f"a tensor of pixels must be [3, H, W] or [N, 3, H, W], got {list(tensor.shape)}")
    return list(tensor) if tensor.ndim == 4 else [tensor]


def _of_tensor(tensor: torch.Tensor, bgr: bool) -> Read:
    if tensor.dtype == torch.uint8:
        array = tensor.cpu().permute(1, 2, 0).numpy()
        return _of_array(array, bgr)
    return lambda: tensor.flip(0) if bgr else tensor
