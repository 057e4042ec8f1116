"""The gallery as queries rank it, for looking at it: the same ranks as in CMC and mAP, junk left out."""

from typing import NamedTuple

import numpy as np

from mdpr_fastreid.evaluation.evaluator import Collected, Measured


class RankedGallery(NamedTuple):
    """The gallery images that count for a query, nearest first: rank 1 stands at 0."""

    gallery: np.ndarray
    """``[G']`` indices in the gallery."""
    distance: np.ndarray
    """``[G']``."""
    correct: np.ndarray
    """``[G']`` bool: same identity."""

    @property
    def ranks_of_positives(self) -> np.ndarray:
        """``[P]`` ranks, from 1 on."""
        return np.flatnonzero(self.correct) + 1


class RankLists(NamedTuple):
    """The nearest gallery images of every query that has a positive, nearest first; junk left out."""

    query: np.ndarray
    """``[V]`` index of the query image in the test set."""
    average_precision: np.ndarray
    """``[V]``, 0 to 1."""
    gallery: np.ndarray
    """``[V, L]`` index of the gallery image in the test set, -1 behind the end of a short gallery."""
    distance: np.ndarray
    """``[V, L]``, infinite behind the end."""
    correct: np.ndarray
    """``[V, L]`` bool: same identity."""


def ranked_gallery(measured: Measured, collected: Collected, query: int) -> RankedGallery:
    """The whole ranking of one query, ties broken as in :func:`mdpr_fastreid.evaluation.rank_metrics`.

    Args:
        measured: by the evaluator, with its distances ``[Q, G]``.
        collected: the labels.
        query: its row.
    """
    query_ids, gallery_ids, query_cameras, gallery_cameras = collected.labels
    order = np.argsort(measured.distances[query])
    same = gallery_ids[order] == query_ids[query]
    counts = ~(same & (gallery_cameras[order] == query_cameras[query]))
    return RankedGallery(order[counts], measured.distances[query][order[counts]], same[counts])


def rank_lists(measured: Measured, collected: Collected, length: int) -> RankLists:
    """The top of each query's ranking.

    Args:
        measured: by the evaluator, with its distances ``[Q, G]``.
        collected: the labels.
        length: gallery images in each list, ``L``, or their number if there are fewer.
    """
    queries, length = collected.num_query, min(length, measured.distances.shape[1])
    gallery = np.full((queries, length), -1)
    distance = np.full((queries, length), np.inf, dtype=np.float32)
    correct, valid = np.zeros((queries, length), dtype=bool), np.zeros(queries, dtype=bool)
    for query in range(queries):
        ranked = ranked_gallery(measured, collected, query)
        valid[query] = ranked.correct.any()
        listed = slice(min(length, len(ranked.gallery)))
        gallery[query, listed] = ranked.gallery[listed] + queries
        distance[query, listed], correct[query, listed] = ranked.distance[listed], ranked.correct[listed]
    precision = measured.ranking.average_precision
    return RankLists(np.flatnonzero(valid), precision, gallery[valid], distance[valid], correct[valid])
