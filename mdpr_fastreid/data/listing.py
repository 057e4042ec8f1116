"""What lies in folders, by names alone: no file is opened or looked at, as a million looks take minutes over a network.

A folder of a network file system takes milliseconds to list, most of them waited for, so many are listed at a time.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
_AT_A_TIME = 16
_Result = TypeVar("_Result")


class Contents(NamedTuple):
    """What lies right in a folder, as paths sorted by name; what begins with a dot is left out."""

    images: list[str]
    folders: list[str]
    """Links to folders, too."""
    links: frozenset[str]
    """Which of the folders are links."""
    others: list[str]


def contents_of(folder: str | os.PathLike, *, by_name: bool = True) -> Contents:
    """List a folder.

    Args:
        folder: the folder.
        by_name: whether whatever is named as an image counts as one. Otherwise a folder of such a name is a folder;
            where a network file system does not list what an entry is, that is a look at each.

    Raises:
        OSError: it is none, or cannot be read.
    """
    images, folders, links, others = [], [], set(), []
    start = str(Path(folder, "x"))[:-1]
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and (by_name or not entry.is_dir()):
                images.append(start + name)
            elif entry.is_dir():
                folders.append(start + name)
                if entry.is_symlink():
                    links.add(start + name)
            else:
                others.append(start + name)
    return Contents(sorted(images), sorted(folders), frozenset(links), sorted(others))


def images_in(folder: str | os.PathLike) -> list[str]:
    """The image files right in a folder, by name; hidden ones are left out."""
    return contents_of(folder).images


def folders_in(folder: str | os.PathLike) -> list[str]:
    """The folders right in a folder, by name; hidden ones are left out."""
    return contents_of(folder).folders


def images_below(folder: str | os.PathLike) -> Iterator[str]:
    """The images in a folder and in all folders below it, hidden ones and links to folders left out; in no order.

    Raises:
        OSError: one of them cannot be read.
    """
    level = [os.fspath(folder)]
    while level:
        found = look_at_each(partial(contents_of, by_name=False), level)
        for contents in found:
            yield from contents.images
        level = [below for contents in found for below in contents.folders if below not in contents.links]


class Listings:
    """Contents of folders, each of which is listed once."""

    def __init__(self) -> None:
        self._contents: dict[str, Contents] = {}

    def of(self, folder: str | os.PathLike) -> Contents:
        """As :func:`contents_of`."""
        self.list_all([os.fspath(folder)])
        return self._contents[os.fspath(folder)]

    def list_all(self, folders: Iterable[str]) -> None:
        """List folders that will be asked for, many at a time."""
        new = [folder for folder in folders if folder not in self._contents]
        self._contents.update(zip(new, look_at_each(contents_of, new), strict=True))


def missing_files(paths: Iterable[str]) -> list[str]:
    """The paths that are no files, in their order; each folder is listed once."""
    paths = list(paths)
    folders = list(dict.fromkeys(map(os.path.dirname, paths)))
    names = dict(zip(folders, look_at_each(_names_in, folders), strict=True))
    return [path for path in paths if os.path.basename(path) not in names[os.path.dirname(path)]]


def _names_in(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder or os.curdir))
    except (OSError, ValueError):
        return frozenset()


def look_at_each(look: Callable[[str], _Result], paths: list[str]) -> list[_Result]:
    """What is found at each path, in their order; many wait at a time."""
    if len(paths) < 2:
        return [look(path) for path in paths]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(look, paths))
