"""Images inside the page: thumbnails, once each."""

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from mdpr_fastreid.data import reading
from mdpr_fastreid.pictures.inline import data_uri, encode

HEIGHT, WIDTH = 128, 64


class Album:
    """Collects images, each of them once, as CSS classes that a page shows them by."""

    def __init__(self) -> None:
        self._classes: dict[Path, str] = {}
        self._rules: list[str] = []

    def css_class(self, path: Path) -> str:
        """The class of an image file's thumbnail; ``gone`` for an image that cannot be read any more."""
        if path not in self._classes:
            content = thumbnail(path)
            name = f"i{len(self._classes)}" if content is not None else "gone"
            self._classes[path] = name
            if content is not None:
                self._rules.append(f".{name}{{background-image:url({data_uri(content, 'image/jpeg')})}}")
        return self._classes[path]

    def css_rules(self) -> str:
        """The rules of all classes given so far."""
        return "\n".join(self._rules)


def read_image(path: Path) -> np.ndarray | None:
    """``[128, 64, 3]`` uint8 RGB, or None for an image that cannot be read any more."""
    try:
        image = reading.read_image(str(path))
    except reading.DamagedImageError:
        return None
    return np.asarray(image.resize((WIDTH, HEIGHT), PillowImage.Resampling.LANCZOS))


def thumbnail(path: Path) -> bytes | None:
    """A JPEG of 128 x 64 (height x width) pixels, or None for an image that cannot be read any more."""
    pixels = read_image(path)
    return None if pixels is None else encode(pixels)
