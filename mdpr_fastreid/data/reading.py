"""Reads an image file, of any kind that people have, as the RGB picture a network is trained on."""

import struct
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from fastreid.utils.file_io import PathManager
from PIL import Image, ImageOps, UnidentifiedImageError

from mdpr_fastreid.errors import UsageError

DAMAGE = (OSError, SyntaxError, ValueError, TypeError, zlib.error, struct.error, Image.DecompressionBombError)
"""What Pillow raises for a file that is missing, truncated, empty or no image."""

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
"""What an image file may be, by Pillow's names, whatever its suffix: for PostScript, Pillow would start Ghostscript."""

_DEEP = ("I", "I;16", "I;16B", "I;16L")
_SPREAD = {"L;2": 255 // 3, "L;4": 255 // 15}
"""Between the levels that Pillow makes of the grey levels of a PNG with 2 or 4 bits a pixel."""


def read_rgb(file: str | BinaryIO) -> Image.Image:
    """The whole picture in 8-bit RGB, turned as its EXIF says.

    Grey levels become three equal channels, 16 bits the upper 8 of them; palettes, CMYK and the like are converted; an
    alpha channel is dropped.

    Raises:
        one of :data:`DAMAGE`: it cannot be decoded to its last pixel, or has floating-point pixels.
    """
    with Image.open(file, formats=FORMATS) as image:
        image.load()
        if image.mode == "F":
            raise ValueError("its pixels are floating-point numbers; save it with 8 bits a channel")
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode in _DEEP:
            levels = np.asarray(image).astype(np.int64)
            if levels.min() < 0 or levels.max() > 65_535:
                raise ValueError("its pixels have more than 16 bits; save it with 8 bits a channel")
            image = Image.fromarray((levels >> 8).astype(np.uint8))
        # Where there is nothing to do, both of these would copy the picture
        return image if image.mode == "RGB" else image.convert("RGB")


class DamagedImageError(UsageError):
    """A file that cannot be read as an image; the message names it."""


def read_image(path: str) -> Image.Image:
    """The picture of a file in RGB, see :func:`read_rgb`.

    Raises:
        DamagedImageError: it cannot be read.
    """
    return _read(path, read_rgb)


def read_labels(path: str) -> np.ndarray:
    """The label map of a file, ``[h, w]`` in uint8: the levels of a grey image, the indices of a palette image.

    Grey levels of 1, 2 or 4 bits are labels as they stand in the file, from 0 to 1, 3 or 15.

    Raises:
        DamagedImageError: it cannot be read, or holds colours or labels above 255.
    """
    return _read(path, _labels)


def _read(path: str, read: Callable[[BinaryIO], Any]) -> Any:
    try:
        if not PathManager.isfile(path) and PathManager.exists(path):
            raise ValueError("no regular file")  # and to open a pipe would wait for ever
        with PathManager.open(path, "rb") as file:
            return read(file)
    except DAMAGE as error:
        raise DamagedImageError(f"{path}: cannot be read as an image ({reason_of(error)})") from None


def _labels(file: BinaryIO) -> np.ndarray:
    with Image.open(file, formats=FORMATS) as image:
        # Pillow spreads grey levels of few bits over 0 to 255
        step = _SPREAD.get(image.tile[0][3], 1) if image.format == "PNG" and image.tile else 1
        labels = np.array(image)
    if labels.ndim != 2 or labels.dtype.kind not in "bui" or labels.min() < 0 or labels.max() > 255:
        raise ValueError("a label map has one channel, with labels from 0 to 255")
    return labels.astype(np.uint8) // step


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, in a line."""
    if isinstance(error, UnidentifiedImageError):
        return f"not of a format that is read: {', '.join(FORMATS)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}".replace("\n", " ")
