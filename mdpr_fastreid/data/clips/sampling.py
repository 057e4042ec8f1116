"""Which frames of a tracklet are in its clip: ``INPUT.CLIP.SAMPLING``. All draws are of torch's global generator."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from mdpr_fastreid.data.items import Files

Tracklet = tuple[str, ...]
"""Files of frames in order of time."""


class Frame(NamedTuple):
    """A frame of a clip."""

    tracklet: Tracklet
    """That it is taken from."""
    place: int
    """In the tracklet, from 0."""


class Sampling(NamedTuple):
    """A way to make a clip of T frames."""

    draw: Callable[[Files, int], list[Frame]]
    """From a training item's files and T: the frames of a clip."""
    represent: Callable[[int, int], list[int]]
    """From a tracklet's F frames and T: the places of those that stand for it in evaluation."""


def _within(tracklet: Tracklet, places: Sequence[int]) -> list[Frame]:
    return [Frame(tracklet, place) for place in places]


def _places_in_parts(length: int, count: int, within: torch.Tensor | float) -> list[int]:
    parts = torch.arange(count, dtype=torch.float64)
    return [int(place) for place in (parts + within) * length / count]


def draw_from_parts(tracklet: Tracklet, count: int) -> list[Frame]:
    """A frame of each of T parts of one length (restricted random sampling).

    Source: Li et al., "Diversity Regularized Spatiotemporal Attention for Video-based Person Re-identification", CVPR
    2018.
    """
    return _within(tracklet, _places_in_parts(len(tracklet), count, torch.rand(count, dtype=torch.float64)))


def middles_of_parts(length: int, count: int) -> list[int]:
    """The place in the middle of each of T parts of one length."""
    return _places_in_parts(length, count, 0.5)


def draw_from_chunks(tracklet: Tracklet, count: int) -> list[Frame]:
    """A frame of each run of ``L = ceil(F / T)``: slot k has ``min(k L + U{0..L-1}, F - 1)``.

    Source: the code of Porrello et al., "Robust Re-Identification by Multiple Views Knowledge Distillation", ECCV 2020.
    """
    run, last = -(-len(tracklet) // count), len(tracklet) - 1
    drawn = torch.randint(run, (count,)).tolist()
    return _within(tracklet, [min(slot * run + place, last) for slot, place in enumerate(drawn)])


def starts_of_chunks(length: int, count: int) -> list[int]:
    """The first place of each run of ``L = ceil(F / T)``: ``min(k L, F - 1)``; source as :func:`draw_from_chunks`."""
    run = -(-length // count)
    return [min(slot * run, length - 1) for slot in range(count)]


def draw_from_views(views: tuple[Files, ...], count: int) -> list[Frame]:
    """Frames of the views of an identity in turn: slot k has a random frame of view ``order[k mod views]``.

    A view is a tracklet, or several (those under one camera) of which one is drawn for each slot. The order of views is
    drawn for each clip. Source as :func:`draw_from_chunks`; views that are cameras are an option of ours.
    """
    order = torch.randperm(len(views)).tolist()
    return [_frame_of(views[order[slot % len(views)]]) for slot in range(count)]


def _frame_of(view: tuple[Files, ...]) -> Frame:
    place = int(torch.randint(len(view), ()))
    return Frame(view, place) if isinstance(view[place], str) else _frame_of(view[place])


SAMPLINGS = {
    "parts": Sampling(draw_from_parts, middles_of_parts),
    "chunk": Sampling(draw_from_chunks, starts_of_chunks),
    "multiview": Sampling(draw_from_views, starts_of_chunks),
}
"""By the values of ``INPUT.CLIP.SAMPLING``."""

OF_ALL_TRACKLETS = ("multiview",)
"""The samplings that draw from all tracklets of an identity."""
