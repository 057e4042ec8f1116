"""A user's folder as a class that FastReID's builders can call."""

import logging
import os
from pathlib import Path
from typing import ClassVar

from mdpr_fastreid.data.custom.layouts import MOST_DIGITS, is_distractor, left_out, read_records
from mdpr_fastreid.data.custom.records import Record
from mdpr_fastreid.data.custom.splitting import with_splits
from mdpr_fastreid.data.datasets.base import DISTRACTOR, JUNK, ItemDataset
from mdpr_fastreid.data.items import Item
from mdpr_fastreid.data.listing import Listings
from mdpr_fastreid.data.tracklets import CLIP
from mdpr_fastreid.errors import UsageError

logger = logging.getLogger(__name__)


class CustomDataset(ItemDataset):
    """The images of ``folder``, in one of the layouts of :func:`~mdpr_fastreid.data.custom.layouts.read_records`.

    Identities and cameras are numbered in the order of their names, identities from 1 (``identity_names`` has them by
    number); an image without a camera has one of its own, so that nothing is taken out of the ranking. Files that are
    in none of its splits are warned of, and ``left_out`` has them. An image that a manifest names a mask for has the
    field ``mask``, a tracklet that it names the field ``clip``.

    Args:
        root: the data root, where a relative folder is looked for if it is not in the working directory.
        **kwargs: as of FastReID's ``ImageDataset``.

    Raises:
        UsageError: what cannot be read, or a test set in which no query has a match.
    """

    folder = ""
    camera_pattern = ""
    _junk_pids: ClassVar[list[int]] = [JUNK, DISTRACTOR]

    def __init__(self, root: str = "datasets", **kwargs):
        self.dataset_name = type(self).__name__
        self.dataset_dir = located(self.folder, root)
        if not os.path.isdir(self.dataset_dir) and not os.path.isabs(os.path.expanduser(self.folder)):
            places = f"{os.getcwd()} or {os.path.abspath(root)}"
            raise UsageError(f"data set {self.dataset_name}: there is no folder {self.folder} in {places}")
        try:
            folder, listings = Path(self.dataset_dir), Listings()
            records, said = with_splits(read_records(folder, self.camera_pattern, listings))
            self.left_out = left_out(folder, listings)
        except (UsageError, OSError) as error:
            raise UsageError(f"data set {self.dataset_name}: {error}") from error
        if said:
            logger.warning("%s has no split of its own: %s", self.dataset_name, said)
        if self.left_out:
            logger.warning(
                "%s: %d files are left out, as they are not named as images are or lie too deep, e.g. %s",
                *(self.dataset_name, len(self.left_out), self.left_out[0]),
            )
        self.identity_names, (train, query, gallery) = _numbered(records)
        self._check(records, query, gallery)
        super().__init__(train, query, gallery, **kwargs)

    def _check(self, records: list[Record], query: list[tuple], gallery: list[tuple]) -> None:
        train = {record.identity for record in records if record.split == "train"}
        both = sorted(train & {record.identity for record in records if record.split != "train"} - {str(DISTRACTOR)})
        if both:
            logger.warning("%s: %d identities train and test, e.g. %s", self.dataset_name, len(both), both[0])
        alone = queries_without_match(query, gallery)
        if query and len(alone) == len(query):
            raise UsageError(
                f"data set {self.dataset_name}: none of its {len(query)} queries has a gallery image of its identity "
                "under another camera"
            )
        if alone:
            logger.warning(
                "%s: %d of %d queries have no gallery image of their identity under another camera and do not count, "
                "e.g. %s",
                *(self.dataset_name, len(alone), len(query), alone[0]),
            )


def located(folder: str, root: str) -> str:
    """Where a user's folder is: as it is given, else, if it is relative, under the data root."""
    folder = os.path.expanduser(folder)
    return folder if os.path.isdir(folder) else os.path.join(root, folder)


def queries_without_match(query: list[tuple], gallery: list[tuple]) -> list[str]:
    """The paths of the queries that have no gallery image of their identity under another camera."""
    cameras: dict = {}
    for _, pid, camera, *_ in gallery:
        cameras.setdefault(pid, set()).add(camera)
    return [path for path, pid, camera, *_ in query if not cameras.get(pid, set()) - {camera}]


def custom_class(name: str, folder: str | os.PathLike, camera_pattern: str = "") -> type[CustomDataset]:
    """The class of one of ``DATASETS.CUSTOM``, as a registry holds it."""
    return type(name, (CustomDataset,), {"folder": str(folder), "camera_pattern": camera_pattern})


def _numbered(records: list[Record]) -> tuple[dict[int, str], tuple[list[tuple], ...]]:
    """The names of the identities by their numbers, and the items of training, query and gallery."""
    identities = {record.identity for record in records if not is_distractor(record)}
    pids = {identity: number for number, identity in enumerate(sorted(identities, key=_natural), start=1)}
    cameras = {record.camera for record in records if record.camera}
    camids = {camera: number for number, camera in enumerate(sorted(cameras, key=_natural))}
    items: dict[str, list[tuple]] = {"train": [], "query": [], "gallery": []}
    for number, record in enumerate(sorted(records, key=lambda r: (_natural(r.identity), r.camera, r.frame, r.path))):
        pid = DISTRACTOR if is_distractor(record) else pids[record.identity]
        fields = {name: files for name, files in (("mask", record.mask), (CLIP, record.clip)) if files}
        camid = camids[record.camera] if record.camera else len(camids) + number
        items[record.split].append(Item(record.path, pid, camid, fields) if fields else (record.path, pid, camid))
    names = {number: identity for identity, number in pids.items()}
    return names, (items["train"], items["query"], items["gallery"])


def _natural(name: str) -> tuple[int, int, str]:
    """Numbers by value, before names."""
    return (0, int(name), name) if name.isdecimal() and len(name) <= MOST_DIGITS else (1, 0, name)
