"""Pictures as files: PNG or JPEG, by their suffix."""

import io
from pathlib import Path

from PIL import Image

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import need_place, write_whole

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def need_picture_place(path: Path, force: bool) -> None:
    """Refuse a place for a picture, before the work that is drawn there.

    Raises:
        UsageError: it is neither PNG nor JPEG by its suffix, exists and ``force`` is not set, or cannot be written.
    """
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"{path}: name a .png or .jpg file")
    if path.is_file() and not force:
        raise UsageError(f"{path} exists already; --force replaces it")
    need_place(path)


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a picture, whole or not at all.

    Raises:
        UsageError: the disk is full.
    """
    content = io.BytesIO()
    picture.save(content, _FORMATS[path.suffix.lower()], quality=90)
    write_whole(path, content.getvalue())
