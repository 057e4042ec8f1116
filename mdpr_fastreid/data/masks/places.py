"""Where the masks of a data set lie: beside its images, by one rule for every set, FastReID's own included.

The mask of ``<set>/<folder>/<name>`` lies in ``<set>/masks``, in the same ``<folder>``, so no class of a data set has
to know of masks. An item that names its mask itself keeps it.
"""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from fastreid.data.datasets.bases import ImageDataset

from mdpr_fastreid.data.items import fields_of, with_files
from mdpr_fastreid.errors import UsageError

FOLDER = "masks"
"""Within a set's folder."""


class Layout(NamedTuple):
    """Where masks of one kind lie within ``<set>/masks``."""

    folders: tuple[str, ...]
    """Each is looked into, in this order, unless one is named."""
    names: tuple[str, ...]
    """Of files, the first one that is there counts: ``{stem}`` is the image's name without, ``{name}`` with suffix."""
    without_identity: bool
    """Whether the last folder of an image, that of its identity, may be left out."""


LABEL_IMAGES = Layout(("",), ("{stem}.png",), False)
CONFIDENCE_FIELDS = Layout(
    ("pifpaf_maskrcnn_filtering", ""),
    # For the image 1.jpg these are 1.jpg.confidence_fields.npy, 1.npy and 1.jpg.npy
    ("{stem}.jpg.confidence_fields.npy", "{stem}.npy", "{name}.npy", "{name}.confidence_fields.npy", "{stem}.jpg.npy"),
    True,
)


class MaskPlaces:
    """Finds the masks of one data set; what lies in a folder is listed once.

    Args:
        folder: the set's.
        layouts: of the kinds of masks to look for.
        within: a folder of ``<set>/masks`` instead of those of the layouts; "" for theirs.
    """

    def __init__(self, folder: str, layouts: Sequence[Layout], within: str = "") -> None:
        self.folder = folder
        self.layouts = layouts
        self.within = within
        self._files_in = cache(_files_in)
        self._folders_for = cache(lambda folder: list(self._candidates(folder)))

    def find(self, image: str) -> str | None:
        """The file of an image's mask; None if there is none."""
        folder, name = os.path.split(image)
        for candidate, layout in self._folders_for(folder):
            there = self._files_in(candidate)
            for own in _names(layout, name) if there else ():
                if own in there:
                    return os.path.join(candidate, own)
        return None

    def looked_for(self, image: str) -> str:
        """What :meth:`find` looks for, in words: the names of files, and the folders."""
        folder, name = os.path.split(image)
        candidates = self._folders_for(folder)
        if not candidates:
            return f"nothing was looked for, as it lies outside of its set's folder {self.folder or '(unknown)'}"
        names = dict.fromkeys(own for _, layout in candidates for own in _names(layout, name))
        return f"there is no {' or '.join(names)} in {' or '.join(candidate for candidate, _ in candidates)}"

    def of_items(self, items: list[tuple]) -> list[tuple]:
        """The items, each with the file of its mask among its fields where there is one.

        Raises:
            UsageError: one file would be the mask of two images.
        """
        image_of: dict[str, str] = {}
        return [self._with_mask(item, image_of) for item in items]

    def _with_mask(self, item: tuple, image_of: dict[str, str]) -> tuple:
        fields = fields_of(item)
        mask = None if fields.get("mask") else self.find(item[0])
        if mask is None:
            return item
        other = image_of.setdefault(mask, item[0])
        if other != item[0]:
            raise UsageError(
                f"{mask} would be the mask of {other} and of {item[0]}: put masks into folders that mirror the images'"
            )
        return with_files(item, "mask", mask)

    def _candidates(self, folder: str) -> Iterator[tuple[str, Layout]]:
        """Where the masks of the images in a folder may lie."""
        inside = _inside(self.folder, folder)
        if inside is None:
            return
        for layout in self.layouts:
            mirrored = [inside]
            if layout.without_identity and os.path.dirname(inside):
                mirrored.append(os.path.dirname(inside))
            for part in (self.within,) if self.within else layout.folders:
                for own in mirrored:
                    yield os.path.normpath(os.path.join(self.folder, FOLDER, part, own)), layout


def set_folder(data: ImageDataset, items: list[tuple]) -> str:
    """The folder of a data set that its items lie in; "" if the set does not say.

    FastReID's Market1501 has the data root in ``dataset_dir``, and its own folder in ``data_dir``.
    """
    folders = [str(getattr(data, name, "")) for name in ("data_dir", "dataset_dir")]
    first = [os.path.dirname(item[0]) for item in items[:1]]
    return next((folder for folder in folders for path in first if _inside(folder, path) is not None), "")


def _names(layout: Layout, image: str) -> list[str]:
    stem = os.path.splitext(image)[0]
    return list(dict.fromkeys(form.format(stem=stem, name=image) for form in layout.names))


def _inside(folder: str, path: str) -> str | None:
    """A path relative to the folder that it lies in, "" for this itself; None if it lies elsewhere."""
    if not folder:
        return None
    try:
        relative = os.path.relpath(path or os.curdir, folder)
    except ValueError:  # on another drive of Windows
        return None
    if relative == os.curdir:
        return ""
    return None if relative.split(os.sep)[0] == os.pardir else relative


def _files_in(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()
