"""Fonts that have the letters of a text: people are called Müller, and 张伟."""

import functools
from collections.abc import Iterator
from pathlib import Path

from PIL import ImageFont


@functools.cache
def font_for(text: str = "", size: int = 11) -> ImageFont.FreeTypeFont | None:
    """The first font that has all letters of a text; None if there is none.

    Args:
        text: any.
        size: in pixels.
    """
    return next((ImageFont.truetype(path, size) for path in _font_files() if _has(path, text)), None)


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
