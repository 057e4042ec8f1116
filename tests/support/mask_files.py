"""Files of masks: label images of every kind of PNG, and confidence fields by an integer rule."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def ruled(seed: int, *shape: int) -> np.ndarray:
    """Numbers from -0.5 to 0.5 by the integer rule of ``data/golden/pifpaf_targets.json``, in float64."""
    index = np.arange(1, np.prod(shape) + 1, dtype=np.int64)
    return ((index * 7919 + index**2 * 31 + seed * 104729) % 1009 / 1009 - 0.5).reshape(shape)


def confidence_fields(seed: int, height: int = 17, width: int = 9) -> np.ndarray:
    """Fields ``[36, h, w]`` of which few are near 1, in float64."""
    return (ruled(seed, 36, height, width) + 0.5) ** 12


def write_fields(path: Path, seed: int = 0) -> Path:
    """Save confidence fields in float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, confidence_fields(seed).astype(np.float32))
    return path


def write_labels(path: Path, labels: np.ndarray, palette: bool = True) -> Path:
    """Save labels ``[h, w]`` as a palette PNG, or a grey one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(labels, np.uint8))
    if palette:
        image = image.convert("L")
        image.putpalette([(7 * level) % 256 for level in range(768)])
    image.save(path)
    return path


def write_grey_png(path: Path, labels: np.ndarray, bits: int) -> Path:
    """Save labels ``[h, w]`` as a grey PNG of 1, 2, 4 or 8 bits a pixel, which Pillow does not write."""
    height, width = labels.shape
    rows = b""
    for row in labels:
        digits = "".join(f"{label:0{bits}b}" for label in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path
