"""DukeMTMC-VideoReID."""

import os
import re
from itertools import groupby
from pathlib import Path
from typing import ClassVar, NamedTuple

from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data.datasets.base import PublishedDataset
from mdpr_fastreid.data.datasets.counts import TrackletCount
from mdpr_fastreid.data.listing import folders_in, images_in
from mdpr_fastreid.data.tracklets import tracklet_item
from mdpr_fastreid.errors import UsageError

_NAME = re.compile(r"^(\d+)_?C(\d+)_?F(\d+)_?[XD]\d+\.jpg$", re.IGNORECASE)


class _Walk(NamedTuple):
    """The frames of a folder, or of several that are merged."""

    pid: int
    camera: int
    """From 1."""
    frames: list[str]


@DATASET_REGISTRY.register()
class DukeMTMCVideoReID(PublishedDataset):
    """DukeMTMC-VideoReID, whose items are tracklets; its authors, those of DukeMTMC, have withdrawn the videos.

    Wu et al., "Exploit the Unknown Gradually: One-Shot Video-Based Person Re-Identification by Stepwise Learning",
    CVPR 2018; Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", ECCV
    Workshops 2016; https://github.com/Yu-Wu/DukeMTMC-VideoReID

    ::

        DukeMTMC-VideoReID/{train,query,gallery}/0001/0003/0001_C6_F0099_X30823.jpg
        (identity, tracklet; identity, camera, frame of the tracklet, frame of the video; D for X: a distractor)

    Of older releases, the names are like ``0001C6F0099X30823.jpg``.

    * train: 2,196 tracklets of 702 identities
    * query: 702 tracklets of 702 identities
    * gallery: 2,636 tracklets of 1,110 identities, of them 408 distractors, who have numbers of their own
    * 8 cameras

    A tracklet is a folder. A subclass with ``merge_cameras = True`` joins neighbouring tracklets of an identity under
    one camera, as some published evaluations do, which makes fewer of them.
    """

    dataset_name = "dukevideo"
    folders = ("DukeMTMC-VideoReID", "dukemtmc-vidreid", "DukeMTMC-Video", "DukeMTMCVideoReID")
    published: ClassVar = {
        "train": TrackletCount(702, 2_196),
        "query": TrackletCount(702, 702),
        "gallery": TrackletCount(1_110, 2_636),
    }
    merge_cameras = False

    def splits(self, folder: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """The tracklets of ``train``, ``query`` and ``gallery``."""
        train, query, gallery = (self._tracklets(folder / part) for part in ("train", "query", "gallery"))
        return train, query, gallery

    def _tracklets(self, folder: Path) -> list[tuple]:
        self.require(folder)
        walks = [_walk(tracklet) for identity in folders_in(folder) for tracklet in folders_in(identity)]
        if self.merge_cameras:
            neighbours = [list(group) for _, group in groupby(walks, key=lambda walk: walk[:2])]
            walks = [_Walk(*group[0][:2], [path for walk in group for path in walk.frames]) for group in neighbours]
        return [tracklet_item(walk.frames, walk.pid, walk.camera - 1) for walk in walks]


def _walk(folder: str) -> _Walk:
    """The tracklet in a folder, its frames in order of their numbers.

    Raises:
        UsageError: it has no images, or one that is named otherwise or is of another identity or camera.
    """
    found = []
    for path in images_in(folder):
        name = _NAME.match(os.path.basename(path))
        if name is None:
            expected = "0001_C6_F0099_X30823.jpg"
            raise UsageError(f"DukeMTMCVideoReID: {path} is not named as the set's frames are, e.g. {expected}")
        found.append((int(name[3]), path, (int(name[1]), int(name[2]))))
    if not found:
        raise UsageError(f"DukeMTMCVideoReID: {folder} holds no frames; extract the set anew, or remove the folder")
    for _, path, labels in found:
        if labels != found[0][2]:
            raise UsageError(
                f"DukeMTMCVideoReID: {path} and {found[0][1]} lie in one tracklet's folder, yet are of two identities "
                "or cameras; extract the set anew"
            )
    return _Walk(*found[0][2], [path for _, path, _ in sorted(found)])
