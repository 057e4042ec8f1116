"""Tracklets, the frames of short walks: as items of a data set, and read from a folder in the layout of MARS.

A tracklet's item is its first frame, identity and camera, with all its frames, in order of time, as the files of the
field ``clip``. A query that is an image of its own has that image in place of the first frame.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mdpr_fastreid.data.items import Item, fields_of

CLIP = "clip"
"""The field's name in ``INPUT.FIELDS`` and in ``Item.fields``."""

_FRAME = re.compile(r"^((\d{4}|00-1)C(\d)T(\d{4}))F(\d{3,4})\.jpg$")
_JUNK = "00-1"


class Tracklet(NamedTuple):
    """One walk of one person before one camera."""

    paths: tuple[str, ...]
    """Of its frames, in order of time."""
    pid: int
    camid: int
    """From 0."""
    track: int
    """Its number, as the files have it."""


def list_tracklets(folder: str | os.PathLike) -> list[Tracklet]:
    """The tracklets in ``folder``, e.g. ``synthreid-video/tracklets/bbox_train``, by identity, camera and track.

    Frames are named ``0001/0001C1T0001F001.jpg`` (identity, camera, track, frame), as in MARS (Zheng et al., "MARS: A
    Video Benchmark for Large-Scale Person Re-Identification", ECCV 2016). Junk (``00-1``) is left out.

    Raises:
        FileNotFoundError: when there is no such folder.
        ValueError: when it holds no frame under such a name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; tracklets lie in bbox_train and bbox_test of a set")
    walks: dict[str, list[tuple[int, str]]] = {}
    for path in folder.glob("*/*.jpg"):
        found = _FRAME.match(path.name)
        if found and found[2] != _JUNK:
            walks.setdefault(found[1], []).append((int(found[5]), str(path)))
    if not walks:
        raise ValueError(f"{folder} holds no frames named like 0001/0001C1T0001F001.jpg")
    return [
        Tracklet(tuple(path for _, path in sorted(frames)), int(walk[:4]), int(walk[5]) - 1, int(walk[7:]))
        for walk, frames in sorted(walks.items())
    ]


def tracklet_item(frames: Sequence[str], pid: Any, camid: Any, image: str | None = None) -> Item:
    """The item of a tracklet.

    Args:
        frames: paths in order of time.
        pid: the identity.
        camid: the camera, from 0.
        image: of a query that is an image of its own; the first frame by default.
    """
    return Item(image or frames[0], pid, camid, {CLIP: tuple(frames)})


def frames_of(item: tuple) -> tuple[str, ...]:
    """The frames of an item in order of time; none for an item that is no tracklet."""
    return fields_of(item).get(CLIP, ())


def is_tracklet(item: tuple) -> bool:
    """Whether an item is a tracklet: neither an image alone, nor a query image that a tracklet stands beside."""
    frames = frames_of(item)
    return bool(frames) and item[0] == frames[0]


def files_of(items: Iterable[tuple]) -> list[str]:
    """All pictures of items, images and frames, each once, in order."""
    return list(dict.fromkeys(path for item in items for path in (item[0], *frames_of(item))))
