"""Reads tracklets, the frames of short walks, from a folder in the layout of MARS."""

import os
import re
from pathlib import Path
from typing import NamedTuple

_FRAME = re.compile(r"^((\d{4}|00-1)C(\d)T\d{4})F(\d{3,4})\.jpg$")
_JUNK = "00-1"


class Tracklet(NamedTuple):
    """One walk of one person before one camera: ``paths`` in order of time, identity, camera (from 0)."""

    paths: tuple[str, ...]
    pid: int
    camid: int


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
            walks.setdefault(found[1], []).append((int(found[4]), str(path)))
    if not walks:
        raise ValueError(f"{folder} holds no frames named like 0001/0001C1T0001F001.jpg")
    return [
        Tracklet(tuple(path for _, path in sorted(frames)), int(walk[:4]), int(walk[5]) - 1)
        for walk, frames in sorted(walks.items())
    ]
