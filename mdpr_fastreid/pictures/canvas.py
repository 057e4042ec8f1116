"""What the pictures are drawn with: photographs, frames with marks, and text in any script."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from mdpr_fastreid.data.reading import DamagedImageError, read_image
from mdpr_fastreid.fonts import font_for

INK, SOFT, PAPER, EMPTY = (30, 34, 42), (95, 100, 110), (255, 255, 255), (225, 227, 230)
RIGHT, WRONG = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion of Okabe and Ito's palette, which every kind of colour vision tells apart."""
CELL = (96, 192)
"""Width and height of a photograph in a picture."""
_FRAME, _DASH, _BADGE = 5, 12, 28


def photo(path: Path | str, size: tuple[int, int] = CELL) -> Image.Image:
    """An image file fitted into ``size`` (width, height); grey with a word on it if it cannot be read any more."""
    try:
        return fitted(read_image(str(path)), size)
    except DamagedImageError:
        cell = Image.new("RGB", size, EMPTY)
        write(cell, (6, size[1] // 2 - 8), "unreadable", WRONG, width=size[0] - 12)
        return cell


def fitted(picture: Image.Image, size: tuple[int, int] = CELL) -> Image.Image:
    """A picture in the middle of ``size``, in its own proportions."""
    return ImageOps.pad(picture, size, Image.Resampling.LANCZOS, EMPTY)


def framed(cell: Image.Image, correct: bool) -> Image.Image:
    """A photograph with a solid frame and a tick, or a dashed one and a cross: colour is not all that says it."""
    cell = cell.copy()
    draw = ImageDraw.Draw(cell)
    (right, bottom), colour = (cell.width - 1, cell.height - 1), RIGHT if correct else WRONG
    if correct:
        draw.rectangle((0, 0, right, bottom), outline=colour, width=_FRAME)
    else:
        for start in range(0, max(right, bottom), 2 * _DASH):
            for box in (
                (start, 0, start + _DASH, _FRAME - 1),
                (start, bottom - _FRAME + 1, start + _DASH, bottom),
                (0, start, _FRAME - 1, start + _DASH),
                (right - _FRAME + 1, start, right, start + _DASH),
            ):
                draw.rectangle(box, colour)
    cell.paste(badge(correct), (0, 0))
    return cell


def badge(correct: bool) -> Image.Image:
    """A tick on blue, or a cross on vermilion."""
    scale = 4  # drawn large, so that its edges are smooth
    mark = Image.new("RGB", (_BADGE * scale, _BADGE * scale), RIGHT if correct else WRONG)
    draw = ImageDraw.Draw(mark)
    lines = [((6, 15), (12, 21), (22, 8))] if correct else [((8, 8), (20, 20)), ((20, 8), (8, 20))]
    for line in lines:
        draw.line([(x * scale, y * scale) for x, y in line], PAPER, 4 * scale, joint="curve")
    return mark.resize((_BADGE, _BADGE), Image.Resampling.LANCZOS)


def write(
    picture: Image.Image,
    place: tuple[int, int],
    text: str,
    ink: tuple[int, int, int] = INK,
    size: int = 13,
    width: int | None = None,
) -> None:
    """Write a line, cut at the front to ``width`` pixels: names of files differ at their ends.

    Letters that no font here has, and control characters, are written as ``?``.
    """
    text = "".join(letter if letter.isprintable() and font_for(letter, size) else "?" for letter in text)
    font = font_for(text, size)
    if font is None:  # each letter is in some font, but no font has them all
        plain = font_for("", size)
        text = "".join(letter if font_for(letter, size) is plain else "?" for letter in text)
        font = plain
    if width is not None and font.getlength(text) > width:
        while text and font.getlength(f"…{text}") > width:
            text = text[1:]
        text = f"…{text}"
    ImageDraw.Draw(picture).text(place, text, ink, font)
