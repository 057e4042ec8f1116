"""The tracklets of a data set: how many and how long they are, and what is wrong with them."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from statistics import median

from mdpr_fastreid.data.tracklets import frames_of, is_tracklet

SHORT = 8
"""Frames of a clip by default (``INPUT.CLIP.FRAMES``): of a shorter tracklet, a clip has some twice."""

Splits = Mapping[str, list[tuple]]


def count_tracklets(splits: Splits) -> dict[str, dict]:
    """Tracklets, frames, and frames of the shortest, the median and the longest one in each split; {} for images.

    ``images`` are a split's items that are images of their own, as queries may be; their clips do not count.
    """
    if not _of(splits):
        return {}
    counted = {}
    for split, items in splits.items():
        lengths = sorted(len(frames_of(item)) for item in items if is_tracklet(item))
        counted[split] = {
            "tracklets": len(lengths),
            "images": len(items) - len(lengths),
            "frames": sum(lengths),
            "frames_per_tracklet": [lengths[0], median(lengths), lengths[-1]] if lengths else [],
        }
    return counted


def tracklet_errors(splits: Splits) -> list[tuple[str, str]]:
    """What is wrong with the tracklets of a set, each its kind and its message; nothing for images."""
    return _shared_frames(splits)


def tracklet_warnings(splits: Splits) -> list[tuple[str, str]]:
    """What one may want to know of the tracklets of a set, each its kind and its message; nothing for images."""
    return [*_without_a_clip(splits), *_alone_in_training(splits), *_short(splits)] if _of(splits) else []


def _of(splits: Splits) -> list[tuple]:
    return [item for items in splits.values() for item in items if frames_of(item)]


def _shared_frames(splits: Splits) -> list[tuple[str, str]]:
    """Frames of two tracklets; one that is a query's and the gallery's, too, is the same one."""
    tracklet_of: dict[str, tuple] = {}
    shared: dict[tuple, list[str]] = defaultdict(list)
    for item in dict.fromkeys(frames_of(item) for item in _of(splits)):
        for frame, times in Counter(item).items():
            if times > 1:
                shared[item, item].append(frame)
            other = tracklet_of.setdefault(frame, item)
            if other is not item:
                shared[other, item].append(frame)
    return [
        ("frame in two tracklets", f"{frames[0]}{_and_more(frames)}: in the tracklets of {one[0]} and {other[0]}")
        if one is not other
        else ("frame twice in a tracklet", f"{frames[0]}{_and_more(frames)}")
        for (one, other), frames in shared.items()
    ]


def _and_more(frames: list[str]) -> str:
    return f" and {len(frames) - 1} more" if len(frames) > 1 else ""


def _without_a_clip(splits: Splits) -> list[tuple[str, str]]:
    missing = [item[0] for items in splits.values() for item in items if not frames_of(item)]
    return [("image without a tracklet", path) for path in missing]


def _alone_in_training(splits: Splits) -> list[tuple[str, str]]:
    of_identity = Counter(item[1] for item in splits["train"])
    return [
        ("identity with one training tracklet", f"identity {item[1]}: {item[0]}")
        for item in splits["train"]
        if of_identity[item[1]] == 1
    ]


def _short(splits: Splits) -> list[tuple[str, str]]:
    found = []
    for split, items in splits.items():
        walks = [frames_of(item) for item in items if is_tracklet(item)]
        short = [walk for walk in walks if len(walk) < SHORT]
        if short:
            shortest = min(short, key=len)
            message = f"{split}: {len(short):,} of {len(walks):,} have fewer than {SHORT} frames"
            found.append(("short tracklets", f"{message}; the shortest, {shortest[0]}, has {len(shortest)}"))
    return found
