"""Masks in colours over their pictures, and the legend of the colours."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PALETTE = (
    (230, 25, 75),
    (60, 180, 75),
    (0, 110, 220),
    (255, 200, 0),
    (245, 130, 48),
    (145, 30, 180),
    (70, 220, 240),
    (240, 50, 230),
    (154, 99, 36),
    (0, 128, 128),
    (170, 255, 195),
    (128, 128, 0),
    (250, 190, 212),
    (0, 0, 117),
    (128, 0, 0),
    (220, 190, 255),
    (180, 255, 0),
    (255, 215, 180),
    (90, 90, 255),
    (200, 120, 120),
)
"""Of the classes from 1 on, again from the first one after the last; as many as known parsing networks have labels."""

_COVER = 0.6
_SQUARE, _ROW = 10, 18


def colour_of(label: int) -> tuple[int, int, int]:
    """The colour of a class from 1 on."""
    return PALETTE[(label - 1) % len(PALETTE)]


def overlaid(picture: Image.Image, labels: np.ndarray) -> Image.Image:
    """A picture in grey with a mask's parts in colours over it.

    Args:
        picture: in RGB.
        labels: ``[h, w]`` of any size; 0 and 255 stay without colour.
    """
    size = picture.size
    labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    colours = np.zeros((256, 3))
    colours[1:255] = [colour_of(label) for label in range(1, 255)]
    grey = np.asarray(picture.convert("L").convert("RGB")).astype(float)
    cover = np.where((labels > 0) & (labels < 255), _COVER, 0)[..., None]
    return Image.fromarray(((1 - cover) * grey + cover * colours[labels]).round().astype(np.uint8))


def legend(
    names: Sequence[tuple[int, str]], width: int, font: ImageFont.ImageFont, paper: tuple, ink: tuple
) -> Image.Image:
    """The colours of classes with their names, in as many rows as they need.

    Args:
        names: class and name of each part.
        width: of the picture.
        font: of the names.
        paper: colour of the background.
        ink: colour of the names.
    """
    places, x, y = [], 0, 0
    for label, name in names:
        wide = _SQUARE + 6 + int(font.getlength(name)) + 14
        if x and x + wide > width:
            x, y = 0, y + _ROW
        places.append((label, name, x, y))
        x += wide
    drawn = Image.new("RGB", (width, y + _ROW), paper)
    draw = ImageDraw.Draw(drawn)
    for label, name, left, top in places:
        draw.rectangle((left, top + 3, left + _SQUARE, top + 3 + _SQUARE), colour_of(label))
        draw.text((left + _SQUARE + 6, top + 1), name, ink, font)
    return drawn
