"""CMC, mAP and mINP of a query x gallery distance matrix, without a compiler and without a loop over queries."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mdpr_fastreid.evaluation.arguments import check_labels, need_numbers
from mdpr_fastreid.evaluation.features import blocks_with_progress, row_slices
from mdpr_fastreid.evaluation.positives import clip_max_rank, find_positives, no_positive

AVERAGE_PRECISIONS = ("step", "trapezoid")
"""How the area below the precision-recall curve is measured; see :func:`rank_metrics`."""

LARGEST_SORTED = 2**17
"""Images of the largest gallery in which ties are broken as ``numpy.argsort`` does, which has to sort it for that.

In a larger one, nearly every positive is as near as another image: float32 has too few values. The first in the gallery
is then the nearer one.
"""

# Elements of the distance matrix that are sorted at once: 32 MiB of indices
_BLOCK_ELEMENTS = 2**22
# Positives of a query up to which going through the gallery for each is faster than sorting it
_MOST_PASSES = 64


class Ranking(NamedTuple):
    """How well a distance matrix ranks the gallery. Queries without a positive count nowhere.

    ``V`` is the number of queries with at least one positive, in the order of the queries.
    """

    cmc: np.ndarray
    """``[min(max_rank, gallery)]`` float32: share of the valid queries with a positive at rank k or better."""
    average_precision: np.ndarray
    """``[V]`` float64; its mean is the mAP."""
    inverse_negative_penalty: np.ndarray
    """``[V]`` float64; its mean is the mINP."""


def row_blocks(rows: int, columns: int) -> Iterable[slice]:
    """Slices that cover ``rows`` rows of a matrix, each of them about four million elements, with a progress bar."""
    return blocks_with_progress(row_slices(rows, columns, _BLOCK_ELEMENTS), "ranking")


def rank_metrics(
    distances: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
    max_rank: int = 50,
    average_precision: str = "step",
) -> Ranking:
    """Rank the gallery for every query, as Market-1501 does (Zheng et al., ICCV 2015).

    Gallery images of the query's identity under the query's camera do not count. mINP is that of AGW
    (Ye et al., TPAMI 2021). Ties are broken as ``numpy.argsort`` does, or, in a gallery of more than 131,072 images, by
    their order in it. Beside the distances it takes about 100 MiB, whatever their size.

    Average precision is the area below the precision-recall curve. It grows with each positive, by a recall of one
    over their number, times a height. ``step`` takes the precision at the positive, as FastReID and scikit-learn do.
    ``trapezoid`` takes the mean of that precision and the one a rank before (1 before the first), as the code of
    Market-1501's and MARS's authors does (Zheng et al., ECCV 2016).

    Args:
        distances: ``[Q, G]``, smaller is more alike.
        query_ids: ``[Q]`` identities.
        gallery_ids: ``[G]`` identities.
        query_cameras: ``[Q]`` cameras.
        gallery_cameras: ``[G]`` cameras.
        max_rank: length of the CMC; with fewer gallery images it is their number.
        average_precision: ``step`` or ``trapezoid``.

    Raises:
        ValueError: shapes do not fit, a distance is NaN, ``max_rank`` is no whole number from 1 on, no query has
            a positive, or ``average_precision`` is neither.
    """
    labels = query_ids, gallery_ids, query_cameras, gallery_cameras
    return rank_by_rules(distances, *labels, max_rank, (average_precision,))[average_precision]


def rank_by_rules(
    distances: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
    max_rank: int = 50,
    average_precisions: Sequence[str] = AVERAGE_PRECISIONS,
) -> dict[str, Ranking]:
    """:func:`rank_metrics` with several rules of average precision, by their names; the distances are sorted once.

    Args:
        distances: ``[Q, G]``, and the other arrays as for :func:`rank_metrics`.
        max_rank: length of the CMC.
        average_precisions: of ``step`` and ``trapezoid``, one at least.

    Raises:
        ValueError: as :func:`rank_metrics`.
    """
    distances, *labels = check_labels(distances, query_ids, gallery_ids, query_cameras, gallery_cameras)
    ranker = BlockRanker(*labels, max_rank, average_precisions)
    for block in row_blocks(*distances.shape):
        ranker.add(block, distances[block])
    return ranker.rankings()


class BlockRanker:
    """:func:`rank_by_rules` of distances that are never all there at once, nor, if processes share them, in one place.

    Each process then has the distances to its own part of the gallery. They tell each other the distances of a query's
    positives, and how many of their own images are nearer than each.

    Args:
        query_ids: ``[Q]`` identities.
        gallery_ids: ``[G]`` identities.
        query_cameras: ``[Q]`` cameras.
        gallery_cameras: ``[G]`` cameras.
        max_rank: length of the CMC; with fewer gallery images it is their number.
        average_precisions: of ``step`` and ``trapezoid``, one at least.
        own: the part of the gallery that this process has; all of it by default. The parts of all processes follow on
            each other in the order of their ranks.
        exchange: gets an object of this process and returns those of all processes, in the order of their ranks.

    Raises:
        ValueError: ``max_rank`` is no whole number from 1 on, or a rule of average precision is none.
    """

    def __init__(
        self,
        query_ids: np.ndarray,
        gallery_ids: np.ndarray,
        query_cameras: np.ndarray,
        gallery_cameras: np.ndarray,
        max_rank: int = 50,
        average_precisions: Sequence[str] = AVERAGE_PRECISIONS,
        own: slice | None = None,
        exchange: Callable[[Any], list[Any]] | None = None,
    ) -> None:
        for rule in average_precisions:
            if rule not in AVERAGE_PRECISIONS:
                raise ValueError(f"average_precision must be {' or '.join(AVERAGE_PRECISIONS)}, got {rule!r}")
        self._max_rank = clip_max_rank(max_rank, len(gallery_ids))
        self._query_ids, self._query_cameras = query_ids, query_cameras
        self._gallery_ids, self._gallery_cameras = gallery_ids, gallery_cameras
        self._first = own.start if own else 0
        self._exchange = exchange or (lambda mine: [mine])
        own_ids = gallery_ids[own] if own else gallery_ids
        self._by_identity = np.argsort(own_ids, kind="stable")
        sorted_ids = own_ids[self._by_identity]
        self._starts = np.searchsorted(sorted_ids, query_ids, side="left")
        self._stops = np.searchsorted(sorted_ids, query_ids, side="right")
        self._first_ranks: list[np.ndarray] = []
        self._penalties: list[np.ndarray] = []
        self._precisions: dict[str, list[np.ndarray]] = {rule: [] for rule in average_precisions}

    def add(self, queries: slice, distances: np.ndarray) -> None:
        """Rank the gallery for some of the queries; all of them have to come once, in their order.

        Args:
            queries: which, the same ones in all processes.
            distances: ``[queries, G]``, or those to the own part of the gallery.

        Raises:
            ValueError: a distance is NaN.
        """
        need_numbers(distances, queries.start)
        ranks = [found for found in self._ranks(queries.start, distances) if len(found)]
        if not ranks:
            return
        count = np.array([len(found) for found in ranks], dtype=np.int64)
        rank = np.concatenate(ranks)
        first = np.cumsum(count) - count
        hits = np.arange(len(rank)) - np.repeat(first, count) + 1
        self._first_ranks.append(rank[first])
        for rule, found in self._precisions.items():
            found.append(np.add.reduceat(_heights(hits, rank, rule), first) / count)
        self._penalties.append(count / (rank[first + count - 1] + 1.0))

    def rankings(self) -> dict[str, Ranking]:
        """What was added, by the rules of average precision.

        Raises:
            ValueError: no query has a positive.
        """
        if not self._first_ranks:
            raise no_positive(self._query_ids)
        first_ranks, penalties = np.concatenate(self._first_ranks), np.concatenate(self._penalties)
        found_at = np.bincount(first_ranks, minlength=self._max_rank)[: self._max_rank]
        cmc = np.cumsum(found_at).astype(np.float32) / np.float32(len(first_ranks))
        precisions = {rule: np.concatenate(found) for rule, found in self._precisions.items()}
        return {rule: Ranking(cmc, found, penalties) for rule, found in precisions.items()}

    def _ranks(self, first: int, distances: np.ndarray) -> list[np.ndarray]:
        """0-based ranks of each query's positives among the gallery images that count for it, ascending.

        Positives are few, and whoever counts what is before each of them need not sort the gallery.
        """
        own = [self._matches(query, row) for query, row in enumerate(distances, first)]
        positives, junk = (
            [_Matches(*map(np.concatenate, zip(*parts, strict=True))).sorted() for parts in zip(*kinds, strict=True)]
            for kinds in zip(*(zip(*each, strict=True) for each in self._exchange(own)), strict=True)
        )
        counts = [_counts(row, found, self._first) for row, found in zip(distances, positives, strict=True)]
        parts = self._exchange(np.concatenate(counts, axis=1))
        before, equal = sum(parts[1:], start=parts[0])
        ends = np.cumsum([len(found.places) for found in positives])[:-1]
        ranks = [
            above - ignored.before(found)
            for above, ignored, found in zip(np.split(before, ends), junk, positives, strict=True)
        ]
        tied = [row for row, as_near in enumerate(np.split(equal, ends)) if (as_near > 1).any()]
        if tied and len(self._gallery_ids) <= LARGEST_SORTED:
            whole = np.concatenate(self._exchange(distances[tied]), axis=1)
            for row, to_gallery in zip(tied, whole, strict=True):
                ranks[row] = self._ranks_by_sorting(first + row, to_gallery)
        return ranks

    def _matches(self, query: int, distances: np.ndarray) -> tuple["_Matches", "_Matches"]:
        """A query's positives in the own part of the gallery, and what does not count for it."""
        same = self._by_identity[self._starts[query] : self._stops[query]]
        is_junk = self._gallery_cameras[self._first + same] == self._query_cameras[query]
        return tuple(_Matches(distances[some], self._first + some) for some in (same[~is_junk], same[is_junk]))

    def _ranks_by_sorting(self, query: int, distances: np.ndarray) -> np.ndarray:
        """As :meth:`_ranks`, where positives are as near as other images: ties are broken as numpy.argsort does."""
        rows = slice(query, query + 1)
        order = np.argsort(distances[None], axis=1)
        labels = self._query_ids[rows], self._gallery_ids, self._query_cameras[rows], self._gallery_cameras
        return find_positives(order, *labels).rank


class _Matches(NamedTuple):
    """Gallery images of a query's identity."""

    distances: np.ndarray
    places: np.ndarray
    """In the whole gallery."""

    def sorted(self) -> "_Matches":
        """By distance, and where that is equal by place."""
        order = np.lexsort((self.places, self.distances))
        return _Matches(self.distances[order], self.places[order])

    def before(self, others: "_Matches") -> np.ndarray:
        """How many of these, sorted ones, are before each of the others."""
        low = np.searchsorted(self.distances, others.distances, side="left")
        high = np.searchsorted(self.distances, others.distances, side="right")
        pairs = zip(low, high, others.places, strict=True)
        return low + [np.count_nonzero(self.places[start:stop] < place) for start, stop, place in pairs]


def _counts(values: np.ndarray, found: _Matches, first: int) -> np.ndarray:
    """How many of the values are before each of the images that were found, and how many are as near: ``[2, P]``.

    Args:
        values: ``[N]`` distances.
        found: sorted.
        first: place of the first value.
    """
    if len(found.places) > _MOST_PASSES:
        order = np.argsort(values, kind="stable")
        everything = _Matches(values[order], first + order)
        equal = [np.searchsorted(everything.distances, found.distances, side=side) for side in ("left", "right")]
        return np.stack((everything.before(found), equal[1] - equal[0]))
    before, equal = [], []
    for distance, place in zip(*found, strict=True):
        same = values == distance
        equal.append(np.count_nonzero(same))
        before.append(np.count_nonzero(values < distance) + np.count_nonzero(same[: max(place - first, 0)]))
    return np.array((before, equal), dtype=np.int64)


def _heights(hits: np.ndarray, rank: np.ndarray, average_precision: str) -> np.ndarray:
    """Height of the precision-recall curve in the step of each positive.

    Args:
        hits: positives up to this one, which counts.
        rank: 0-based rank of each positive.
    """
    precision = hits / (rank + 1.0)
    if average_precision == "step":
        return precision
    before = np.where(rank > 0, (hits - 1) / np.maximum(rank, 1), 1.0)
    return (before + precision) / 2
