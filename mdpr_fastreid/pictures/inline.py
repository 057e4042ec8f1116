"""Pictures inside of a page, which then needs no other file."""

import base64
import io

import numpy as np
from PIL import Image

_JPEG_QUALITY = 80


def encode(pixels: np.ndarray) -> bytes:
    """A JPEG of ``[H, W, 3]`` uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """Content as an address, so that a page needs no other file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
