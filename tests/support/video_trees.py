"""Miniature video sets in the layouts of their papers, all files in them small and different."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io
from support.image_trees import write_images

MARS_TRAIN = [(1, 1, 1, 3), (1, 2, 2, 1), (2, 1, 1, 2)]
MARS_TEST = [(5, 1, 1, 2), (5, 3, 2, 2), (7, 2, 1, 2), (7, 2, 2, 3), (7, 4, 3, 1), (0, 6, 1, 2), (-1, 1, 1, 2)]
"""(identity, camera, track, frames): identity 5's second tracklet and two of 7's are queries, in this order."""
MARS_QUERIES = [2, 3, 5]


def mars_names(tracklets: Sequence[tuple]) -> list[str]:
    """The names of the frames of ``(identity, camera, track, frames)``."""
    return [
        f"{'00-1' if pid == -1 else f'{pid:04d}'}C{camera}T{track:04d}F{frame:03d}.jpg"
        for pid, camera, track, frames in tracklets
        for frame in range(1, frames + 1)
    ]


def mars_rows(tracklets: Sequence[tuple]) -> np.ndarray:
    """The table of ``(identity, camera, track, frames)``: first line, last line, identity, camera."""
    ends = np.cumsum([frames for *_, frames in tracklets])
    return np.array([(end - t[3] + 1, end, t[0], t[1]) for end, t in zip(ends, tracklets, strict=True)], np.int32)


def mars_tree(
    root: Path,
    train: Sequence[tuple] = MARS_TRAIN,
    test: Sequence[tuple] = MARS_TEST,
    queries: Sequence[int] = MARS_QUERIES,
) -> Path:
    """MARS of ``(identity, camera, track, frames)``; ``queries`` are rows of the test table, from 1."""
    folder = root / "mars"
    (folder / "info").mkdir(parents=True)
    for part, tracklets, seed in (("train", train, 0), ("test", test, 1)):
        names = mars_names(tracklets)
        write_images(folder / f"bbox_{part}", [f"{name[:4]}/{name}" for name in names], seed=seed)
        (folder / f"info/{part}_name.txt").write_text("\n".join(names) + "\n")
        table = {f"track_{part}_info": mars_rows(tracklets)}
        scipy.io.savemat(folder / f"info/tracks_{part}_info.mat", table, do_compression=True)
    scipy.io.savemat(folder / "info/query_IDX.mat", {"query_IDX": np.array([queries])})
    return folder


DUKE_TRAIN = [(1, 3, 6, 2), (1, 4, 2, 1), (2, 5, 1, 2)]
DUKE_QUERY = [(9, 1, 1, 2)]
DUKE_GALLERY = [(9, 2, 1, 2), (9, 3, 4, 2), (9, 4, 4, 3), (9, 5, 1, 1), (8, 6, 2, 2)]
"""(identity, tracklet, camera, frames); 8 is a distractor."""


def duke_video_tree(root: Path, underscores: bool = True) -> Path:
    """DukeMTMC-VideoReID, names as ``0001_C6_F0001_X30823.jpg``, or as ``0001C6F0001X30823.jpg``."""
    folder = root / "DukeMTMC-VideoReID"
    gap = "_" if underscores else ""
    parts = {"train": DUKE_TRAIN, "query": DUKE_QUERY, "gallery": DUKE_GALLERY}
    for seed, (part, walks) in enumerate(parts.items()):
        names = [
            f"{pid:04d}/{walk:04d}/{pid:04d}{gap}C{camera}{gap}F{frame:04d}{gap}{'DX'[pid != 8]}{walk}{frame:02d}.jpg"
            for pid, walk, camera, frames in walks
            for frame in range(1, frames + 1)
        ]
        write_images(folder / part, names, seed=seed)
    return folder


VERI_TRAIN = [(1, 1, 3), (1, 2, 1), (2, 1, 2)]
VERI_QUERY = [(5, 3), (5, 4), (6, 3)]
VERI_TRACKS = [(5, 3, 10, 2), (5, 3, 40, 1), (5, 4, 10, 2), (6, 3, 10, 1), (6, 20, 10, 2)]


def veri_tree(root: Path) -> Path:
    """VeRi-776 of ``(identity, camera, images)``, query images and tracks ``(identity, camera, from, images)``."""
    folder = root / "VeRi"

    def names(pid: int, camera: int, first: int, count: int) -> list[str]:
        return [f"{pid:04d}_c{camera:03d}_{8 * time:08d}_0.jpg" for time in range(first, first + count)]

    train = [name for pid, camera, count in VERI_TRAIN for name in names(pid, camera, 1, count)]
    query = [name for pid, camera in VERI_QUERY for name in names(pid, camera, 10, 1)]
    tracks = [[f"{t[0]:04d}_c{t[1]:03d}_{number}", *names(*t)] for number, t in enumerate(VERI_TRACKS)]
    test = [name for _, *frames in tracks for name in frames]
    for seed, (part, listed) in enumerate({"train": train, "query": query, "test": test}.items()):
        write_images(folder / f"image_{part}", listed, seed=seed)
        (folder / f"name_{part}.txt").write_text("\n".join(listed) + "\n")
    (folder / "test_track.txt").write_text("".join(" ".join(track) + " \n" for track in tracks))
    return folder
