"""A picture of a data set: identities in rows and cameras in columns, or tracklets and their frames."""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from fastreid.data.datasets.bases import ImageDataset
from PIL import Image, ImageDraw, ImageOps

from mdpr_fastreid.data.check.masks import SetMasks
from mdpr_fastreid.data.masks.groups import UNLABELLED
from mdpr_fastreid.data.masks.overlay import legend, overlaid
from mdpr_fastreid.data.reading import DAMAGE, read_rgb
from mdpr_fastreid.data.tracklets import frames_of
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.fonts import font_for

ROWS, COLUMNS = 8, 8
_CELL, _GAP, _LEFT, _TOP = (64, 128), 4, 110, 22
_INK, _PAPER, _EMPTY, _WRONG = (40, 40, 40), (250, 250, 250), (228, 228, 228), (180, 0, 0)


class Row(NamedTuple):
    """A row of a sheet."""

    split: str
    number: str
    """Of the identity."""
    shown: list[str | None]
    """The pictures of the columns; None for none."""
    under: str = ""
    """What stands below the identity."""


def sample_sheet(data: ImageDataset, masks: SetMasks | None = None) -> tuple[Image.Image, dict[str, str]]:
    """Up to four training and four test identities, those with most cameras, before up to eight cameras.

    A set without cameras (each image has one of its own) has an identity's images in the columns instead. With masks,
    each image stands there a second time, in grey, with its mask in colours over it, and a legend below all. A set of
    tracklets has two tracklets of two training and two test identities in its rows, each with its camera, how many
    frames it has, and eight of these, evenly apart, without masks.

    Args:
        data: the set.
        masks: of the set, if any.

    Returns:
        The picture, and the names, by the numbers that stand there in their place, that no font here can write.
    """
    junk = set(data._junk_pids)
    splits = {"train": data.train, "test": [item for item in data.query + data.gallery if item[1] not in junk]}
    prefix = f"{getattr(data, 'dataset_name', '')}_"
    if any(frames_of(item) for items in splits.values() for item in items):
        headings, rows = tracklet_rows(splits, prefix)
        masks = None
    else:
        headings, rows = identity_rows(splits, prefix)
    names = {str(number): name for number, name in getattr(data, "identity_names", {}).items()}
    return _drawn(headings, rows, names, Cells(masks if masks is not None and masks.files else None))


def identity_rows(splits: Mapping[str, list[tuple]], prefix: str) -> tuple[list[str], list[Row]]:
    """The headings of the columns, and a row for each of some identities.

    Args:
        splits: items by the names of the splits.
        prefix: of identities and cameras, left out.
    """
    rows = [(split, *row) for split, items in splits.items() for row in _most_cameras(items)[: ROWS // 2]]
    cameras = {str(camera).removeprefix(prefix) for _, _, images in rows for camera in images}
    known = len(cameras) < sum(len(images) for _, _, images in rows) or len(cameras) <= COLUMNS
    most = min(COLUMNS, max((len(images) for *_, images in rows), default=0))
    columns = sorted(cameras, key=lambda camera: (len(camera), camera))[:COLUMNS] if known else list(range(most))
    headings = [f"camera {column}" if known else f"image {column + 1}" for column in columns]

    def shown(images: Mapping) -> list[str | None]:
        of_camera = {str(camera).removeprefix(prefix): path for camera, path in images.items()}
        return [of_camera.get(camera) for camera in columns] if known else list(of_camera.values())

    return headings, [Row(split, str(pid).removeprefix(prefix), shown(images)) for split, pid, images in rows]


def tracklet_rows(splits: Mapping[str, list[tuple]], prefix: str) -> tuple[list[str], list[Row]]:
    """The headings of the columns, and a row for each of some tracklets, as of :func:`identity_rows`."""
    rows = []
    for split, items in splits.items():
        of_identity: dict = defaultdict(dict)
        for item in items:
            of_identity[item[1]].setdefault(item[2], frames_of(item) or item[:1])
        for pid, walks in sorted(of_identity.items(), key=lambda row: -len(row[1]))[: ROWS // 4]:
            for camera, frames in list(walks.items())[:2]:
                chosen = [frames[k * len(frames) // COLUMNS] for k in range(COLUMNS)]
                shown = chosen if len(frames) > COLUMNS else list(frames)
                under = f"camera {str(camera).removeprefix(prefix)}\n{len(frames)} frames"
                rows.append(Row(split, str(pid).removeprefix(prefix), shown, under))
    return [f"{k + 1} of {COLUMNS}" for k in range(COLUMNS)], rows


def _drawn(headings: list[str], rows: list[Row], names: Mapping[str, str], cells: "Cells") -> tuple:
    step, high = cells.width + _GAP, _CELL[1] + _GAP
    sheet = Image.new("RGB", (_LEFT + len(headings) * step + _GAP, _TOP + len(rows) * high + _GAP), _PAPER)
    draw, font, unwritten = ImageDraw.Draw(sheet), font_for(), {}
    for x, heading in enumerate(headings):
        draw.text((_LEFT + x * step, 4), heading[:11], _INK, font)
    for y, row in enumerate(rows):
        top = _TOP + y * high
        name = names.get(row.number, row.number)
        letters = font_for(name)
        if letters is None:
            unwritten[row.number], name = name, row.number
        draw.text((6, top + 52), row.split, _INK, font)
        draw.text((6, top + 66), name[-16:], _INK, letters or font)
        draw.text((6, top + 80), row.under, _INK, font)
        for x in range(len(headings)):
            sheet.paste(cells.cell(row.shown[x] if x < len(row.shown) else None), (_LEFT + x * step, top))
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
        below = legend(
            names, sheet.width - 12, font_for("".join(name for _, name in names)) or font_for(), _PAPER, _INK
        )
        whole = Image.new("RGB", (sheet.width, sheet.height + below.height + _GAP), _PAPER)
        whole.paste(sheet, (0, 0))
        whole.paste(below, (6, sheet.height))
        return whole


def _most_cameras(items: list[tuple]) -> list[tuple]:
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
    ImageDraw.Draw(cell).text((4, 56), word, ink, font_for())
    return cell
