"""MARS."""

import logging
import os
import re
from itertools import chain
from pathlib import Path
from typing import ClassVar, NamedTuple

from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data.datasets.base import JUNK, PublishedDataset
from mdpr_fastreid.data.datasets.counts import TrackletCount
from mdpr_fastreid.data.datasets.matlab import read_table
from mdpr_fastreid.data.items import Item
from mdpr_fastreid.data.tracklets import tracklet_item
from mdpr_fastreid.errors import UsageError

logger = logging.getLogger(__name__)

_NAME = re.compile(r"^(\d{4}|00-1)C(\d)T\d{4}F\d{3,4}\.jpg$")
_CAMERAS = 6


class _Row(NamedTuple):
    """A line of a table of tracklets: its first and last frame, lines of the list of names from 1."""

    first: int
    last: int
    pid: int
    camera: int


@DATASET_REGISTRY.register()
class MARS(PublishedDataset):
    """MARS, whose items are tracklets: identities of Market-1501, boxes and tracks by detector and tracker.

    Zheng et al., "MARS: A Video Benchmark for Large-Scale Person Re-Identification", ECCV 2016;
    https://github.com/liangzheng06/MARS-evaluation

    ::

        mars/{bbox_train,bbox_test}/0001/0001C1T0001F001.jpg      (identity, camera, track, frame)
        mars/info/{train_name,test_name}.txt                      names of frames, one a line
        mars/info/{tracks_train_info,tracks_test_info,query_IDX}.mat

    * train: 8,298 tracklets of 625 identities
    * query: 1,980 tracklets of 626 identities
    * gallery: 11,310 tracklets of 635 identities: the 9,330 of 621 that are not queries, distractors (0) counted as
      one, and the queries, without which 140 of these have no match. A query itself does not count for itself, as its
      identity and camera are its own.
    * 6 cameras; 870 junk tracklets (-1) are left out

    A subclass with ``queries_in_gallery = False`` has the 9,330 alone.

    Assumed, as the set was not available: the lists and tables lie in ``info``, and junk and distractors are in the
    test table under -1 and 0. The tables decide what a tracklet is.
    """

    dataset_name = "mars"
    folders = ("mars", "MARS")
    published: ClassVar = {
        "train": TrackletCount(625, 8_298),
        "query": TrackletCount(626, 1_980),
        "gallery": TrackletCount(635, 11_310),
    }
    queries_in_gallery = True

    def splits(self, folder: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """The tracklets of the two tables, the second one parted by the list of queries."""
        info = folder / "info"
        self.require(folder / "bbox_train", folder / "bbox_test", info)
        train = self._tracklets(folder / "bbox_train", info / "train_name.txt", info / "tracks_train_info.mat")
        test = self._tracklets(folder / "bbox_test", info / "test_name.txt", info / "tracks_test_info.mat")
        queries = self._queries(info / "query_IDX.mat", test)
        gallery = [item for row, item in test.items() if item and (self.queries_in_gallery or row not in queries)]
        splits = [item for item in train.values() if item], [test[row] for row in queries], gallery
        self.warn_of_missing(chain.from_iterable(splits))
        return splits

    def _tracklets(self, images: Path, list_file: Path, table: Path) -> dict[int, Item | None]:
        """The tracklets of a table by their lines, from 1; None for junk."""
        self.require(list_file, table)
        names = list_file.read_text(encoding="utf-8", errors="replace").split()
        rows = read_table(table, table.stem.replace("tracks", "track"), len(_Row._fields))
        tracklets: dict[int, Item | None] = {}
        other_cameras = []
        for line, row in enumerate(map(_Row._make, rows.tolist()), start=1):
            where = f"{table}, row {line}"
            if not 1 <= row.first <= row.last <= len(names):
                span = f"frames {row.first} to {row.last}"
                raise UsageError(f"{where}: {span} of the {len(names):,} in {list_file}: {_OF_ONE_RELEASE}")
            if not 1 <= row.camera <= _CAMERAS or row.pid < JUNK:
                found = f"identity {row.pid} under camera {row.camera}"
                raise UsageError(f"{where}: {found}, where cameras are 1 to {_CAMERAS}: {_OF_ONE_RELEASE}")
            if row.pid == JUNK:
                tracklets[line] = None
                continue
            frames = names[row.first - 1 : row.last]
            _check_names(frames, row, where, list_file)
            if _NAME.match(frames[0])[2] != str(row.camera):
                other_cameras.append(line)
            paths = [os.path.join(images, name[:4], name) for name in frames]
            tracklets[line] = tracklet_item(paths, row.pid, row.camera - 1)
        if other_cameras:
            logger.warning(
                "MARS: %s: %d rows name another camera than their frames' names do, the first is row %d. The table's "
                "counts; %s if it is not meant",
                *(table, len(other_cameras), other_cameras[0], _OF_ONE_RELEASE),
            )
        return tracklets

    def _queries(self, table: Path, test: dict[int, Item | None]) -> list[int]:
        """The lines of the test table that are queries."""
        self.require(table)
        queries = read_table(table, "query_IDX", 1)[:, 0].tolist()
        for place, row in enumerate(queries, start=1):
            if test.get(row) is None:
                reason = "junk" if row in test else f"not among the {len(test):,} test tracklets"
                raise UsageError(f"{table}: entry {place}, {row}, is {reason}: {_OF_ONE_RELEASE}")
        return list(dict.fromkeys(queries))


_OF_ONE_RELEASE = "use the lists and tables of one release, from the authors' page"


def _check_names(frames: list[str], row: _Row, where: str, list_file: Path) -> None:
    """Raise a UsageError if frames are not all of the row's identity and of one camera."""
    cameras = set()
    for line, name in enumerate(frames, start=row.first):
        found = _NAME.match(name)
        if found is None:
            expected = "0001C1T0001F001.jpg"
            raise UsageError(f"{list_file}, line {line}: {name!r} is not like {expected!r}: {_OF_ONE_RELEASE}")
        cameras.add(found[2])
        if not found[1].isdecimal() or int(found[1]) != row.pid or len(cameras) > 1:
            other = f"identity {row.pid} under one camera, yet line {line} of {list_file} is {name}"
            raise UsageError(f"{where}: {other}: {_OF_ONE_RELEASE}")
