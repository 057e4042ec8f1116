"""Uploaded images: small, few, and gone soon."""

import io
import shutil
import time
from pathlib import Path

from PIL import Image

from mdpr_fastreid.data.reading import DAMAGE, FORMATS, read_rgb, reason_of
from mdpr_fastreid.errors import UsageError

LARGEST = 10 * 2**20
"""Bytes of an uploaded file."""
MOST = 50
"""Uploads that lie in the temporary folder at a time."""
SECONDS_KEPT = 600
_MOST_PIXELS = 50_000_000


def read_upload(content: bytes) -> Image.Image:
    """The picture of an uploaded file, turned as its EXIF says.

    Raises:
        UsageError: it is too large, or no image of a known format.
    """
    if len(content) > LARGEST:
        raise UsageError(f"the file has more than {LARGEST // 2**20} MiB")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise UsageError(f"the image has more than {_MOST_PIXELS // 10**6} million pixels")
        return read_rgb(io.BytesIO(content))
    except DAMAGE as error:
        raise UsageError(f"the file cannot be read as an image ({reason_of(error)})") from None


def make_room(folder: Path) -> bool:
    """Delete uploads of a while ago; whether there is room for another one."""
    uploads = list(folder.iterdir()) if folder.is_dir() else []
    left = 0
    for upload in uploads:
        try:
            old = time.time() - upload.stat().st_mtime > SECONDS_KEPT
        except FileNotFoundError:
            continue
        if old:
            shutil.rmtree(upload, ignore_errors=True) if upload.is_dir() else upload.unlink(missing_ok=True)
        else:
            left += 1
    return left < MOST
