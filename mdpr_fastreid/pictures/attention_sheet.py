"""A sheet of images with the maps of where a model looks over them."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from mdpr_fastreid.inference.attention import ACTIVATION, STRIPES
from mdpr_fastreid.pictures.canvas import CELL, INK, PAPER, SOFT, fitted, write
from mdpr_fastreid.pictures.overlay import colours, overlay

_GAP, _GROUP_GAP, _MARGIN, _HEAD, _FOOT = 8, 22, 14, 44, 40
_BAR = (150, 12)
_LETTERS = 14
_EXPLANATIONS = {
    "attention": "Stages 4 and 3: soft attention, from 0 to 1. Below each map are its lowest and highest value.",
    STRIPES: "Stripes: where each stripe of the hard content branch responds; each has a scale of its own.",
    ACTIVATION: "Activation: how large the last feature maps are. It is no attention, which this model does not have.",
}


class Looked(NamedTuple):
    """An image, and where the model looks in it."""

    name: str
    picture: Image.Image
    """In RGB, of any size."""
    maps: Mapping[str, np.ndarray]
    """``[h, w]`` by the names of :func:`mdpr_fastreid.inference.attention.attention_maps`."""


def attention_sheet(rows: Sequence[Looked], stripes: int = 0) -> Image.Image:
    """A row for each image: itself, then each map over it.

    Args:
        rows: one at least, all with maps of the same names.
        stripes: of the hard content branch; their borders are drawn.
    """
    names = list(rows[0].maps)
    lefts = _lefts(names)
    low = CELL[1] + 40
    explained = [text for kind, text in _EXPLANATIONS.items() if any(name.startswith(kind) for name in names)]
    width = max(lefts[-1] + CELL[0] + _MARGIN, 600)
    lines = [line for text in explained for line in textwrap.wrap(text, (width - 2 * _MARGIN) // 7)]
    sheet = Image.new("RGB", (width, _HEAD + len(rows) * low + _FOOT + 18 * len(lines)), PAPER)
    for left, (first, second) in zip(lefts, [("image", ""), *map(map_title, names)], strict=True):
        write(sheet, (left, 8), first, INK)
        write(sheet, (left, 24), second, INK)
    for number, row in enumerate(rows):
        _draw_row(sheet, _HEAD + number * low, row, lefts, stripes)
    top = _HEAD + len(rows) * low + 8
    _draw_scale(sheet, top)
    for number, line in enumerate(lines):
        write(sheet, (_MARGIN, top + 22 + 18 * number), line, SOFT)
    return sheet


def _draw_row(sheet: Image.Image, top: int, row: Looked, lefts: Sequence[int], stripes: int) -> None:
    cell = row.picture.resize(CELL, Image.Resampling.LANCZOS)  # as the model gets it: stretched to its own proportions
    sheet.paste(fitted(row.picture), (lefts[0], top))
    for number, line in enumerate(_two_lines(row.name)):
        write(sheet, (lefts[0], top + CELL[1] + 3 + 14 * number), line, SOFT, size=11, width=CELL[0])
    for left, (name, values) in zip(lefts[1:], row.maps.items(), strict=True):
        seen = Image.fromarray(overlay(np.asarray(cell), values))
        if name == STRIPES:
            _draw_borders(seen, len(values), stripes)
        sheet.paste(seen, (left, top))
        if name.startswith("attention"):
            write(sheet, (left, top + CELL[1] + 3), f"{values.min():.2f} – {values.max():.2f}", SOFT, size=11)


def _draw_borders(cell: Image.Image, rows: int, stripes: int) -> None:
    parts = np.array_split(np.arange(rows), stripes) if stripes else []
    for part in parts[1:]:
        y = round(part[0] / rows * cell.height)
        ImageDraw.Draw(cell).line((0, y, cell.width, y), PAPER, 2)


def _draw_scale(sheet: Image.Image, top: int) -> None:
    write(sheet, (_MARGIN, top - 3), "low", SOFT)
    ramp = np.repeat(colours(np.linspace(0, 1, _BAR[0]))[None], _BAR[1], axis=0)
    sheet.paste(Image.fromarray(ramp.round().astype(np.uint8)), (_MARGIN + 30, top))
    write(sheet, (_MARGIN + 38 + _BAR[0], top - 3), "high, within each map", SOFT)


def _lefts(names: Sequence[str]) -> list[int]:
    """The left edge of the image and of each map; a wider gap before another kind of map."""
    lefts, kind = [_MARGIN], "image"
    for name in names:
        gap = _GAP if name.partition("_")[0] == kind else _GROUP_GAP
        kind = name.partition("_")[0]
        lefts.append(lefts[-1] + CELL[0] + gap)
    return lefts


def map_title(name: str) -> tuple[str, str]:
    """What a map is called where people read it, in two parts: ``stage 4`` and ``map 1``."""
    kind, _, which = name.partition("_")
    if kind.startswith("attention"):
        return f"stage {kind.removeprefix('attention')}", f"map {which}"
    return kind, which.removesuffix("_head")


def _two_lines(name: str) -> list[str]:
    """A file's name in lines that fit below its image; of a very long one, the ends of both halves are left."""
    if len(name) <= _LETTERS:
        return [name]
    last = max(len(name) - _LETTERS, len(name) // 2)
    return [name[:last], name[last:]]
