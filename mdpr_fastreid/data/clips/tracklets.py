"""Whose frames an item's clip is made of: tracklets of a set's own, of its images, or all those of an identity."""

import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from mdpr_fastreid.data.items import Files, fields_of, with_files
from mdpr_fastreid.data.tracklets import CLIP
from mdpr_fastreid.errors import UsageError


def check_tracklets(items: list[tuple]) -> None:
    """Refuse items without a tracklet.

    Raises:
        UsageError: the first of them, and the way out.
    """
    for item in items:
        if not fields_of(item).get(CLIP):
            raise UsageError(
                f"{item[0]}: its data set gives no tracklet for this image; INPUT.FIELDS asks for clips, and "
                "INPUT.CLIP.FROM_IMAGES True makes tracklets of images"
            )


def grouped(items: list[tuple]) -> list[tuple]:
    """Training items, of which those without a tracklet have the images of their identity and camera as one.

    The order within it is that of the file names. Source: the code of Porrello et al., "Robust Re-Identification by
    Multiple Views Knowledge Distillation", ECCV 2020, does so with the training images of VeRi-776.
    """
    images: dict[tuple[Any, Any], list[str]] = defaultdict(list)
    for path, pid, camid, *_ in _without_tracklet(items):
        images[pid, camid].append(path)
    tracklets = {key: tuple(sorted(paths, key=_by_name)) for key, paths in images.items()}
    return [
        item if fields_of(item).get(CLIP) else with_files(item, CLIP, tracklets[item[1], item[2]]) for item in items
    ]


def of_one_image(items: list[tuple]) -> list[tuple]:
    """Test items, of which those without a tracklet have their image as one."""
    return [item if fields_of(item).get(CLIP) else with_files(item, CLIP, (item[0],)) for item in items]


def with_views(items: list[tuple], of_cameras: bool) -> list[tuple]:
    """Training items whose clips are made of all tracklets of their identity.

    Args:
        items: with a tracklet each.
        of_cameras: whether the tracklets are those of each camera ``((tracklet, ...), ...)``, or all by themselves
            ``(tracklet, ...)``. Each is there once; items of one identity share them.
    """
    found: dict[Any, dict[Any, dict[Files, None]]] = defaultdict(lambda: defaultdict(dict))
    for item in items:
        tracklet = fields_of(item)[CLIP]
        found[item[1]][item[2] if of_cameras else None][tracklet] = None
    views: dict[Any, Files] = {}
    for pid, cameras in found.items():
        by_camera = tuple(tuple(tracklets) for tracklets in cameras.values())
        views[pid] = by_camera if of_cameras else by_camera[0]
    return [with_files(item, CLIP, views[item[1]]) for item in items]


def all_frames(files: Files) -> Iterator[str]:
    """The frames of a tracklet, or of tracklets, in their order."""
    if isinstance(files, str):
        yield files
    else:
        for each in files:
            yield from all_frames(each)


def _without_tracklet(items: list[tuple]) -> Iterator[tuple]:
    return (item for item in items if not fields_of(item).get(CLIP))


def _by_name(path: str) -> tuple[str, str]:
    return os.path.basename(path), path
