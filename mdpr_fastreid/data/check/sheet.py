"""A picture of a data set: identities in rows, cameras in columns."""

import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fastreid.data.datasets.bases import ImageDataset
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mdpr_fastreid.data.check.masks import SetMasks
from mdpr_fastreid.data.masks.groups import UNLABELLED
from mdpr_fastreid.data.masks.overlay import legend, overlaid
from mdpr_fastreid.data.reading import DAMAGE, read_rgb
from mdpr_fastreid.errors import UsageError

ROWS, COLUMNS = 8, 8
_CELL, _GAP, _LEFT, _TOP = (64, 128), 4, 110, 22
_INK, _PAPER, _EMPTY, _WRONG = (40, 40, 40), (250, 250, 250), (228, 228, 228), (180, 0, 0)


def sample_sheet(data: ImageDataset, masks: SetMasks | None = None) -> tuple[Image.Image, dict[str, str]]:
    """Up to four training and four test identities, those with most cameras, before up to eight cameras.

    A set without cameras (each image has one of its own) has an identity's images in the columns instead. With masks,
    each image stands there a second time, in grey, with its mask in colours over it, and a legend below all.

    Args:
        data: the set.
        masks: of the set, if any.

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
    cells = Cells(masks if masks is not None and masks.files else None)
    step = cells.width + _GAP
    sheet = Image.new("RGB", (_LEFT + len(columns) * step + _GAP, _TOP + len(rows) * (_CELL[1] + _GAP) + _GAP), _PAPER)
    draw, font, unwritten = ImageDraw.Draw(sheet), _font(), {}
    for x, camera in enumerate(columns):
        label = f"camera {camera}" if known else f"image {x + 1}"
        draw.text((_LEFT + x * step, 4), label[:11], _INK, font)
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
            cell = cells.cell(shown[x] if x < len(shown) else None)
            sheet.paste(cell, (_LEFT + x * step, top))
    return cells.with_legend(sheet), unwritten


class Cells:
    """Draws the cells of a sheet.

    Args:
        masks: to be laid over the images beside these; None for images alone.
    """

    def __init__(self, masks: SetMasks | None) -> None:
        self.masks = masks
        self.width = _CELL[0] if masks is None else 2 * _CELL[0] + 1
        self.labels: set[int] = set()

    def cell(self, path: str | None) -> Image.Image:
        """The cell of an image, or of none."""
        if path is None or self.masks is None:
            return _fitted(path, self.width)
        cell = Image.new("RGB", (self.width, _CELL[1]), _PAPER)
        cell.paste(_fitted(path, _CELL[0]), (0, 0))
        cell.paste(self._overlay(path), (_CELL[0] + 1, 0))
        return cell

    def _overlay(self, path: str) -> Image.Image:
        mask = self.masks.files.get(path)
        if mask is None:
            return _written("no mask", _INK)
        try:
            labels = self.masks.read(mask)
            if labels is None:
                return _written("no groups", _INK)
            picture = overlaid(read_rgb(path), labels)
        except (UsageError, *DAMAGE):
            return _written("unreadable", _WRONG)
        self.labels.update(np.unique(labels).tolist())
        return _centred(picture, _CELL[0])

    def with_legend(self, sheet: Image.Image) -> Image.Image:
        """The sheet with the colours of the parts, of which without a grouping those that it shows, below it."""
        if self.masks is None:
            return sheet
        groups = self.masks.groups
        labels = range(1, len(groups.parts) + 1) if groups is not None else sorted(self.labels - {0, UNLABELLED})
        names = [(label, self.masks.name_of(label)) for label in labels]
        if not names:
            return sheet
        below = legend(names, sheet.width - 12, _font("".join(name for _, name in names)) or _font(), _PAPER, _INK)
        whole = Image.new("RGB", (sheet.width, sheet.height + below.height + _GAP), _PAPER)
        whole.paste(sheet, (0, 0))
        whole.paste(below, (6, sheet.height))
        return whole


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


def _fitted(path: str | None, width: int) -> Image.Image:
    if path is None:
        return Image.new("RGB", (width, _CELL[1]), _EMPTY)
    try:
        return _centred(read_rgb(path), width)
    except DAMAGE:
        return _written("damaged", _WRONG)


def _centred(picture: Image.Image, width: int) -> Image.Image:
    cell = Image.new("RGB", (width, _CELL[1]), _EMPTY)
    image = ImageOps.contain(picture, _CELL)
    cell.paste(image, ((width - image.width) // 2, (_CELL[1] - image.height) // 2))
    return cell


def _written(word: str, ink: tuple[int, int, int]) -> Image.Image:
    cell = Image.new("RGB", _CELL, _EMPTY)
    ImageDraw.Draw(cell).text((4, 56), word, ink, _font())
    return cell
