"""A picture of a data set: identities in rows, cameras in columns."""

import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fastreid.data.datasets.bases import ImageDataset
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mdpr_fastreid.data.reading import DAMAGE, read_rgb

ROWS, COLUMNS = 8, 8
_CELL, _GAP, _LEFT, _TOP = (64, 128), 4, 110, 22
_INK, _PAPER, _EMPTY = (40, 40, 40), (250, 250, 250), (228, 228, 228)


def sample_sheet(data: ImageDataset) -> tuple[Image.Image, dict[str, str]]:
    """Up to four training and four test identities, those with most cameras, before up to eight cameras.

    A set without cameras (each image has one of its own) has an identity's images in the columns instead.

    Returns:
        The picture, and the names, by the numbers that stand there in their place, that no font here can write.
    """
    rows = [("train", *row) for row in _rows(data.train)[: ROWS // 2]]
    junk = set(data._junk_pids)
    rows += [("test", *row) for row in _rows([i for i in data.query + data.gallery if i[1] not in junk])[: ROWS // 2]]
    prefix = f"{getattr(data, 'dataset_name', '')}_"
    names = {str(number): name for number, name in getattr(data, "identity_names", {}).items()}
    cameras = {str(camera).removeprefix(prefix) for _, _, images in rows for camera in images}
    known = len(cameras) < sum(len(images) for _, _, images in rows) or len(cameras) <= COLUMNS
    most = min(COLUMNS, max((len(images) for *_, images in rows), default=0))
    columns = sorted(cameras, key=lambda camera: (len(camera), camera))[:COLUMNS] if known else list(range(most))
    width = _LEFT + len(columns) * (_CELL[0] + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _TOP + len(rows) * (_CELL[1] + _GAP) + _GAP), _PAPER)
    draw, font, unwritten = ImageDraw.Draw(sheet), _font(), {}
    for x, camera in enumerate(columns):
        label = f"camera {camera}" if known else f"image {x + 1}"
        draw.text((_LEFT + x * (_CELL[0] + _GAP), 4), label[:11], _INK, font)
    for y, (part, identity, images) in enumerate(rows):
        top = _TOP + y * (_CELL[1] + _GAP)
        number = str(identity).removeprefix(prefix)
        name = names.get(number, number)
        letters = _font(name)
        if letters is None:
            unwritten[number], name = name, number
        draw.text((6, top + 52), part, _INK, font)
        draw.text((6, top + 66), name[-16:], _INK, letters or font)
        of_camera = {str(camera).removeprefix(prefix): path for camera, path in images.items()}
        shown = [of_camera.get(camera) for camera in columns] if known else list(of_camera.values())[:COLUMNS]
        for x in range(len(columns)):
            cell = _cell(shown[x] if x < len(shown) else None)
            sheet.paste(cell, (_LEFT + x * (_CELL[0] + _GAP), top))
    return sheet, unwritten


@functools.cache
def _font(text: str = "") -> ImageFont.FreeTypeFont | None:
    """The first font that has all letters of a text; None if there is none: people are called Müller, and 张伟."""
    return next((ImageFont.truetype(path, 11) for path in _font_files() if _has(path, text)), None)


def _font_files() -> Iterator[str]:
    """Matplotlib's own, which has more letters than Pillow's, then those of the system."""
    from matplotlib import font_manager, get_data_path

    yield str(Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf")
    # "Last resort" fonts have a box for every letter there is
    yield from sorted(path for path in font_manager.findSystemFonts() if "LastResort" not in path)


def _has(path: str, text: str) -> bool:
    from matplotlib.ft2font import FT2Font

    try:
        return set(map(ord, text)) <= FT2Font(path).get_charmap().keys()
    except (OSError, RuntimeError):  # a font that FreeType cannot read
        return False


def _rows(items: list[tuple]) -> list[tuple]:
    """``(identity, {camera: its first image})``, those with most cameras first."""
    of_identity: dict = defaultdict(dict)
    for path, identity, camera, *_ in items:
        of_identity[identity].setdefault(camera, path)
    return sorted(of_identity.items(), key=lambda row: -len(row[1]))


def _cell(path: str | None) -> Image.Image:
    cell = Image.new("RGB", _CELL, _EMPTY)
    if path is None:
        return cell
    try:
        image = ImageOps.contain(read_rgb(path), _CELL)
    except DAMAGE:
        ImageDraw.Draw(cell).text((6, 56), "damaged", (180, 0, 0), _font())
        return cell
    cell.paste(image, ((_CELL[0] - image.width) // 2, (_CELL[1] - image.height) // 2))
    return cell
