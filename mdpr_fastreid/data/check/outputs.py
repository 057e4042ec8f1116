"""The files that ``mdpr data`` writes: a sheet and a report, which replace nothing but a sheet and a report."""

import io
import json
from pathlib import Path

from PIL import ExifTags, Image

from mdpr_fastreid.data.reading import DAMAGE, FORMATS
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import need_place, write_whole

_SOFTWARE = "mdpr data"


def need_sheet_place(path: Path) -> None:
    """Refuse a place for a sheet, before the work that is written there.

    Raises:
        UsageError: it cannot be written, its suffix names no format, or it holds what is no sheet of ours.
    """
    suffix = path.suffix.lower()
    if Image.registered_extensions().get(suffix) not in Image.SAVE:
        raise UsageError(f"{path}: {suffix or 'no suffix'} names no image format to write; name a .png or .jpg")
    need_place(path)
    if path.exists() and not _is_sheet(path):
        raise UsageError(f"{path} was not written by this command, which does not replace it: name another file")


def write_sheet(path: Path, sheet: Image.Image) -> None:
    """Write a sheet, with who made it in its EXIF data.

    Raises:
        UsageError: the disk is full.
    """
    exif, content = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Software] = _SOFTWARE
    sheet.save(content, Image.registered_extensions()[path.suffix.lower()], exif=exif)
    write_whole(path, content.getvalue())


def _is_sheet(path: Path) -> bool:
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.getexif().get(ExifTags.Base.Software) == _SOFTWARE
    except DAMAGE:
        return False


def need_report_place(path: Path) -> None:
    """Refuse a place for a report, before the work that is written there.

    Raises:
        UsageError: it cannot be written, or holds what is no report of ours.
    """
    need_place(path)
    if path.exists() and not _is_report(path):
        raise UsageError(f"{path} was not written by this command, which does not replace it: name another file")


def write_report(path: Path, reports: list[dict]) -> None:
    """Write the reports of some sets.

    Raises:
        UsageError: the disk is full.
    """
    write_whole(path, (json.dumps(reports, indent=2) + "\n").encode())


def _is_report(path: Path) -> bool:
    try:
        reports = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(reports, list) and all(
        isinstance(report, dict) and {"name", "folder", "splits", "findings"} <= report.keys() for report in reports
    )
