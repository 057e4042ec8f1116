"""Reads an image file, of any kind that people have, as the RGB picture a network is trained on."""

import struct
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

DAMAGE = (OSError, SyntaxError, ValueError, TypeError, zlib.error, struct.error, Image.DecompressionBombError)
"""What Pillow raises for a file that is missing, truncated, empty or no image."""

_DEEP = ("I", "I;16", "I;16B", "I;16L")


def read_rgb(file: str | BinaryIO) -> Image.Image:
    """The whole picture in 8-bit RGB, turned as its EXIF says.

    Grey levels become three equal channels, 16 bits the upper 8 of them; palettes, CMYK and the like are converted; an
    alpha channel is dropped.

    Raises:
        one of :data:`DAMAGE`: it cannot be decoded to its last pixel, or has floating-point pixels.
    """
    with Image.open(file) as image:
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
