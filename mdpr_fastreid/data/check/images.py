"""Decodes every image of a set, in parallel."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from mdpr_fastreid.data.reading import DAMAGE, read_rgb

Found = TypeVar("Found")


class Inspection(NamedTuple):
    """What was found in one file."""

    path: str
    size: tuple[int, int] = (0, 0)
    """Width and height in pixels."""
    file_hash: str = ""
    pixel_hash: str = ""
    error: str = ""
    """Why it cannot be decoded; "" if it can."""


def inspect(path: str) -> Inspection:
    """Decode one image as training does, and hash its bytes and its pixels."""
    try:
        file_hash = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        image = read_rgb(path)
    except DAMAGE as error:
        return Inspection(path, error=f"{type(error).__name__}: {error}".replace("\n", " "))
    pixels = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
    return Inspection(path, image.size, file_hash, pixels)


def inspect_all(
    paths: list[str],
    progress: Callable[[], object],
    workers: int | None = None,
    look: Callable[[str], Found] = inspect,
) -> list[Found]:
    """Inspect files by threads (decoding and hashing leave Python's lock), in the order given.

    Args:
        paths: of the images.
        progress: called after each.
        workers: threads; one a core by default.
        look: inspects one; an :class:`Inspection` by default.
    """
    found = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for inspection in pool.map(look, paths):
            found.append(inspection)
            progress()
    return found
