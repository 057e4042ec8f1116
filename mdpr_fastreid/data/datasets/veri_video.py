"""VeRi-776 as a video set; the toolbox's own ``VeRi`` has its images."""

import logging
import re
from collections import defaultdict
from itertools import chain
from pathlib import Path
from typing import ClassVar, NamedTuple

from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data.datasets.base import PublishedDataset
from mdpr_fastreid.data.datasets.counts import Count, FrameCount, TrackletCount
from mdpr_fastreid.data.items import Item
from mdpr_fastreid.data.tracklets import frames_of, tracklet_item
from mdpr_fastreid.errors import UsageError

logger = logging.getLogger(__name__)

_NAME = re.compile(r"^(\d{4})_c(\d{3})_(\d+)_(\d+)\.jpg$")


class _Frame(NamedTuple):
    """A file's name and what it says."""

    pid: int
    camera: int
    """From 1."""
    time: int
    box: int
    name: str


@DATASET_REGISTRY.register()
class VeRi776Video(PublishedDataset):
    """VeRi-776 with tracklets of vehicles: an image is searched for in tracks.

    Liu et al., "A Deep Learning-Based Approach to Progressive Vehicle Re-identification for Urban Surveillance", ECCV
    2016; "PROVID: Progressive and Multimodal Vehicle Reidentification for Large-Scale Urban Surveillance", IEEE
    Transactions on Multimedia 2018; https://github.com/JDAI-CV/VeRidataset

    ::

        VeRi/{image_train,image_query,image_test}/0001_c001_00016450_0.jpg     (identity, camera, frame, box)
        VeRi/name_{train,query}.txt                                            names of images, one a line
        VeRi/test_track.txt                                                    name of a track, and those of its images

    * train: 37,778 images of 576 identities; a tracklet is all images of an identity under a camera
    * query: 1,678 images of 200 identities; the clip of a query is the first track of its identity and camera
    * gallery: 2,021 tracks of 200 identities
    * 20 cameras

    Assumed, as the set was not available: the number of tracks, one a line of ``test_track.txt``.
    """

    dataset_name = "verivideo"
    folders = ("VeRi", "veri", "VeRi776", "VeRi-776")
    published: ClassVar = {
        "train": FrameCount(576, 37_778),
        "query": Count(200, 1_678),
        "gallery": TrackletCount(200, 2_021),
    }

    def splits(self, folder: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """Training tracklets by identity and camera, the query images, and the tracks."""
        train_images, query_images, test_images = (folder / f"image_{part}" for part in ("train", "query", "test"))
        self.require(train_images, query_images, test_images)
        tracks = self._tracks(folder / "test_track.txt", test_images)
        queries = [(str(query_images / f.name), f.pid, f.camera - 1) for f in self._listed(folder / "name_query.txt")]
        splits = (
            self._by_camera(self._listed(folder / "name_train.txt"), train_images),
            _with_clips(queries, tracks),
            tracks,
        )
        self.warn_of_missing(chain.from_iterable(splits))
        return splits

    def _by_camera(self, frames: list[_Frame], images: Path) -> list[tuple]:
        walks = defaultdict(list)
        for frame in sorted(frames):
            walks[frame.pid, frame.camera].append(str(images / frame.name))
        return [tracklet_item(paths, pid, camera - 1) for (pid, camera), paths in walks.items()]

    def _listed(self, list_file: Path) -> list[_Frame]:
        return [_frame(name, where) for where, names in self._lines(list_file) for name in names]

    def _lines(self, list_file: Path) -> list[tuple[str, list[str]]]:
        """The words of each line that has any, with the place to name in an error."""
        self.require(list_file)
        lines = list_file.read_text(encoding="utf-8", errors="replace").splitlines()
        words = [(f"{list_file}, line {number}", line.split()) for number, line in enumerate(lines, start=1)]
        return [(where, names) for where, names in words if names]

    def _tracks(self, list_file: Path, images: Path) -> list[Item]:
        tracks = []
        for where, (track, *others) in self._lines(list_file):
            # Should a line have no name of its track, its first word is an image that is not there again
            names = [track, *others] if _NAME.match(track) and track not in others else others
            frames = [_frame(name, where) for name in names]
            if not frames:
                raise UsageError(f"{where}: a track without images; use the list of the set's own release")
            if len({(frame.pid, frame.camera) for frame in frames}) > 1:
                raise UsageError(f"{where}: images of two identities or cameras; use the list of the set's own release")
            paths = [str(images / frame.name) for frame in frames]
            tracks.append(tracklet_item(paths, frames[0].pid, frames[0].camera - 1))
        return tracks


def _frame(name: str, where: str) -> _Frame:
    found = _NAME.match(name)
    if found is None:
        expected = "0001_c001_00016450_0.jpg"
        raise UsageError(f"{where}: {name!r} is not like {expected!r}; use the list of the set's own release")
    return _Frame(*map(int, found.groups()), name)


def _with_clips(queries: list[tuple], tracks: list[Item]) -> list[tuple]:
    """Query images, each with the frames of the first track of its identity and camera, or else with itself."""
    first: dict[tuple, tuple[str, ...]] = {}
    for track in tracks:
        first.setdefault(track[1:], frames_of(track))
    alone = [query[0] for query in queries if query[1:] not in first]
    if alone:
        logger.warning(
            "VeRi776Video: %d of %d queries have no track of their identity and camera, e.g. %s; as a tracklet such a "
            "query is its image alone",
            *(len(alone), len(queries), alone[0]),
        )
    return [tracklet_item(first.get(query[1:], query[:1]), *query[1:], query[0]) for query in queries]
