"""Which images make up a set: their folders, names, identities and cameras, cut into jobs of one identity each."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .exact import Stream
from .identity import TEST, TRAIN
from .presets import Preset

TRAIN_FOLDER, QUERY_FOLDER, GALLERY_FOLDER = "bounding_box_train", "query", "bounding_box_test"
TRACKLET_FOLDERS = {TRAIN: "tracklets/bbox_train", TEST: "tracklets/bbox_test"}
DISTRACTOR, JUNK = 0, -1
"""The identities that Market-1501 gives to false alarms and to boxes that miss most of a person."""

QUERY_CAMERAS = 3
"""Under how many cameras an identity of test is a query by a tracklet."""

_KIND = {TRAIN_FOLDER: 1, QUERY_FOLDER: 2, GALLERY_FOLDER: 3, "distractor": 4, "junk": 5, "tracklet": 6}


class Job(NamedTuple):
    """Images of one identity in one folder, or the frames of one walk.

    ``split`` and ``index`` find the identity (index -1: nobody), ``cameras[k]`` and ``names[k]`` belong to image
    ``k``, ``key`` is what their moments are seeded with; ``names`` have no suffix. ``kind`` is a folder,
    "distractor", "junk" or "tracklet".
    """

    folder: str
    kind: str
    split: int
    index: int
    key: tuple[int, ...]
    cameras: tuple[int, ...]
    names: tuple[str, ...]


def identity_number(preset: Preset, split: int, index: int) -> int:
    """The number in file names: from 1, identities of training first."""
    return index + 1 + (preset.train_identities if split == TEST else 0)


def _shares(total: int, among: int) -> list[int]:
    """``total`` dealt out as evenly as it goes."""
    return [total // among + (k < total % among) for k in range(among)] if among else []


def _image_names(number: int, cameras: tuple[int, ...], start: int) -> tuple[str, ...]:
    label = "-1" if number == JUNK else f"{number:04d}"
    return tuple(f"{label}_c{camera + 1}s1_{start + 25 * k:06d}_{k % 10:02d}" for k, camera in enumerate(cameras))


def _images(seed: int, preset: Preset, folder: str, split: int, counts: list[int]) -> Iterator[Job]:
    """One job an identity. Cameras come in an order of the identity's own, so that few images still see several."""
    for index, count in enumerate(counts):
        order = Stream(seed, 30, split, index).shuffled(range(preset.cameras))
        # Query images take the first cameras of the order, gallery images all of them in turn.
        cameras = tuple(order[k % len(order)] for k in range(count))
        number = identity_number(preset, split, index)
        start = {QUERY_FOLDER: 500, GALLERY_FOLDER: 3000}.get(folder, 1000)
        if cameras:
            key = (seed, 20, _KIND[folder], number)
            yield Job(folder, folder, split, index, key, cameras, _image_names(number, cameras, start))


def _unlabelled(seed: int, preset: Preset, kind: str, count: int) -> Iterator[Job]:
    """Distractors (mostly nobody, sometimes a piece of a stranger) and junk, in jobs of up to 32."""
    for first in range(0, count, 32):
        stream = Stream(seed, 31, _KIND[kind], first)
        cameras = tuple(stream.below(preset.cameras) for _ in range(min(32, count - first)))
        number = JUNK if kind == "junk" else DISTRACTOR
        key = (seed, 20, _KIND[kind], first)
        index = stream.below(preset.test_identities) if kind == "junk" else -1
        yield Job(GALLERY_FOLDER, kind, TEST, index, key, cameras, _image_names(number, cameras, 100_000 + 25 * first))


def _tracklets(seed: int, preset: Preset, split: int, counts: list[int]) -> Iterator[Job]:
    for index, count in enumerate(counts):
        number = identity_number(preset, split, index)
        order = Stream(seed, 32, split, index).shuffled(range(preset.cameras))
        for track in range(count):
            camera = order[track % len(order)]
            stem = f"{number:04d}/{number:04d}C{camera + 1}T{track + 1:04d}F"
            names = tuple(f"{stem}{frame + 1:03d}" for frame in range(preset.frames))
            key = (seed, 20, _KIND["tracklet"], number, track)
            yield Job(TRACKLET_FOLDERS[split], "tracklet", split, index, key, (camera,) * preset.frames, names)


def plan(preset: Preset, seed: int) -> list[Job]:
    """All jobs of a set, in the order in which they are hashed."""
    labelled = preset.gallery_images - preset.distractor_images
    trained, tested = preset.train_identities, preset.test_identities
    jobs: list[Job] = []
    jobs += _images(seed, preset, TRAIN_FOLDER, TRAIN, _shares(preset.train_images, trained))
    jobs += _images(seed, preset, QUERY_FOLDER, TEST, _shares(preset.query_images, tested))
    jobs += _images(seed, preset, GALLERY_FOLDER, TEST, _shares(labelled, tested))
    jobs += _unlabelled(seed, preset, "distractor", preset.distractor_images)
    jobs += _unlabelled(seed, preset, "junk", preset.junk_images)
    jobs += _tracklets(seed, preset, TRAIN, _shares(preset.train_tracklets, trained))
    jobs += _tracklets(seed, preset, TEST, _shares(preset.test_tracklets, tested))
    return jobs


def query_tracklets(walks: Iterable[tuple[int, int]]) -> list[bool]:
    """Which tracklets are queries: the first one under each of an identity's first three cameras.

    Args:
        walks: identity and camera of each tracklet, in the order of their numbers.
    """
    seen: dict[int, set[int]] = defaultdict(set)
    chosen = []
    for identity, camera in walks:
        chosen.append(camera not in seen[identity] and len(seen[identity]) < QUERY_CAMERAS)
        seen[identity].add(camera)
    return chosen
