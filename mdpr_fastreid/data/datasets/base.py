"""What the data sets of this package share: where they lie, how file names become items, how they are counted.

An item is ``(path, identity, camera)``, or an :class:`~mdpr_fastreid.data.items.Item` with the files of further fields,
which stay with it. Identities and cameras are whole numbers from the file names, cameras from 0; in training they carry
the set's name before them (``"occludedduke_12"``), as the toolbox's do, so that sets can be trained on together.
"""

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from fastreid.data.datasets.bases import ImageDataset

from mdpr_fastreid.data.datasets.counts import Count
from mdpr_fastreid.data.items import relabelled
from mdpr_fastreid.data.listing import images_in, missing_files
from mdpr_fastreid.data.tracklets import files_of, frames_of
from mdpr_fastreid.errors import UsageError

logger = logging.getLogger(__name__)
_toolbox_log = logging.getLogger("fastreid.data.datasets.bases")

JUNK, DISTRACTOR = -1, 0


class ItemDataset(ImageDataset):
    """FastReID's ``ImageDataset``, for items that may have further fields.

    Args:
        train, query, gallery: items, the identities and cameras as numbers; training's get the set's name here.
        **kwargs: as of FastReID's ``ImageDataset`` (``combineall`` trains on the labelled test images, too).
    """

    _junk_pids: ClassVar[list[int]] = [JUNK, DISTRACTOR]
    dataset_name = ""

    def __init__(self, train: list[tuple], query: list[tuple], gallery: list[tuple], **kwargs):
        super().__init__(self._named(train, ""), query, gallery, **kwargs)

    def _named(self, items: list[tuple], part: str) -> list[tuple]:
        prefix = f"{self.dataset_name}_{part}"
        return [relabelled(item, f"{prefix}{item[1]}", f"{prefix}{item[2]}") for item in items]

    def combine_all(self) -> None:
        """Add the labelled test images to the training items; items keep their fields."""
        # A query tracklet may stand in the gallery, too
        items = dict.fromkeys(self.query + self.gallery)
        labelled = [item for item in items if item[1] not in self._junk_pids]
        self._train = self.train + self._named(labelled, "test_")

    def show_train(self) -> None:
        """Log what there is to train on.

        Raises:
            UsageError: the set has no training images.
        """
        if not self.train:
            name = type(self).__name__
            raise UsageError(f"{name} has no training images: it belongs in DATASETS.TESTS, not in DATASETS.NAMES")
        super().show_train()
        self._log_tracklets("train")

    def show_test(self) -> None:
        """Log what there is to test on.

        Raises:
            UsageError: the set has no query or no gallery images.
        """
        for part, items in (("query", self.query), ("gallery", self.gallery)):
            if not items:
                raise UsageError(f"{type(self).__name__} has no {part} images, so it cannot stand in DATASETS.TESTS")
        super().show_test()
        self._log_tracklets("query", "gallery")

    def _log_tracklets(self, *parts: str) -> None:
        """Say what the table of FastReID's, which calls every item an image, does not."""
        for part in parts:
            tracklets = [frames_of(item) for item in getattr(self, part) if frames_of(item)]
            if tracklets:
                frames = sum(map(len, tracklets))
                _toolbox_log.info("%s: %d items with %d frames in tracklets", part, len(tracklets), frames)


class PublishedDataset(ItemDataset):
    """A data set of a paper: found under the data root by its folder's name, and counted.

    A subclass names ``folders`` (accepted names, the published one first) and ``published`` counts, and implements
    ``splits``. A count that differs is a warning with both numbers: a download that is not whole still loads.

    Args:
        root: the data root (``FASTREID_DATASETS``).
        **kwargs: as of FastReID's ``ImageDataset``.

    Raises:
        UsageError: a folder or list is missing, or a file has a name that the set's files do not have.
    """

    folders: ClassVar[tuple[str, ...]] = ()
    published: ClassVar[dict[str, Count]] = {}

    def __init__(self, root: str = "datasets", **kwargs):
        found = [name for name in self.folders if os.path.isdir(os.path.join(root, name))]
        self.dataset_dir = os.path.join(root, (found or self.folders)[0])
        self.require(Path(self.dataset_dir))
        train, query, gallery = self.splits(Path(self.dataset_dir))
        self._compare({"train": train, "query": query, "gallery": gallery})
        super().__init__(train, query, gallery, **kwargs)

    def splits(self, folder: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """The items of training, query and gallery, identities and cameras as numbers."""
        raise NotImplementedError

    def require(self, *paths: Path) -> None:
        """Raise a UsageError that says where the set is expected, if one of the paths is not there."""
        for path in paths:
            if not path.exists():
                name = type(self).__name__
                others = f" (or {', '.join(self.folders[1:])})" if len(self.folders) > 1 else ""
                raise UsageError(
                    f"{name}: {path.absolute()} is not there. The set belongs in the folder {self.folders[0]}{others} "
                    "under the one that the environment variable FASTREID_DATASETS names (default: datasets); "
                    f"`mdpr prepare {name}` says where it comes from"
                )

    def named_images(self, folder: Path, pattern: str = r"^(-?\d+)_c(\d+)") -> list[tuple]:
        """The images right in ``folder``: identity and camera (from 1) are the groups of ``pattern``. Junk is left out.

        Raises:
            UsageError: no such folder, or an image with another name.
        """
        self.require(folder)
        items = []
        for path in images_in(folder):
            found = re.search(pattern, os.path.basename(path))
            if found is None:
                raise UsageError(f"{type(self).__name__}: {path} is not named as the set's images are ({pattern})")
            if int(found[1]) != JUNK:
                items.append((path, int(found[1]), int(found[2]) - 1))
        return items

    def warn_of_missing(self, items: Iterable[tuple]) -> None:
        """Warn of files that lists name and that are not there: a download that is not whole still loads."""
        files = files_of(items)
        gone = missing_files(files)
        if gone:
            name = type(self).__name__
            logger.warning(
                "%s: %d of %d images are not in %s, the first one %s; extract the set anew. DATALOADER.SKIP_DAMAGED "
                "True trains without them, `mdpr data %s` lists them",
                *(name, len(gone), len(files), self.dataset_dir, gone[0], name),
            )

    def _compare(self, splits: dict[str, list[tuple]]) -> None:
        counted = {part: (count.of(splits[part]), count) for part, count in self.published.items()}
        differing = [
            f"{part} has {here} here, {published} as published"
            for part, (here, published) in counted.items()
            if here != published
        ]
        if differing:
            name = type(self).__name__
            logger.warning(
                "%s in %s: %s. `mdpr data %s` looks closer", name, self.dataset_dir, "; ".join(differing), name
            )


class MarketLayout(PublishedDataset):
    """A set in Market-1501's three folders and file names."""

    def splits(self, folder: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """The images of ``bounding_box_train``, ``query`` and ``bounding_box_test``."""
        train, query, gallery = (
            self.named_images(folder / name) for name in ("bounding_box_train", "query", "bounding_box_test")
        )
        return train, query, gallery
