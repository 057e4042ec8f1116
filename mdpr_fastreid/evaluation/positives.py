"""Where in a ranked gallery a query's positives are."""

from typing import NamedTuple

import numpy as np

from mdpr_fastreid.evaluation.arguments import need_whole


class Positives(NamedTuple):
    """The positives of a block of queries, query by query and nearest first."""

    query: np.ndarray
    """Row of the query each positive belongs to."""
    rank: np.ndarray
    """0-based rank among the gallery images that count for this query."""
    column: np.ndarray
    """0-based rank among all gallery images."""


def find_positives(
    order: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
) -> Positives:
    """The positives of each query in the gallery as it is ranked.

    Args:
        order: ``[Q, G]`` gallery images, nearest first.
        query_ids: ``[Q]`` identities, and the other arrays as for :func:`mdpr_fastreid.evaluation.rank_metrics`.
    """
    # Positives and junk are few beside the gallery, so after one comparison only they are handled
    query, column = np.nonzero(gallery_ids[order] == query_ids[:, None])
    junk = gallery_cameras[order[query, column]] == query_cameras[query]
    junk_before = np.cumsum(junk)
    junk_of_earlier_queries = np.concatenate(([0], junk_before))[np.searchsorted(query, np.arange(len(order)))]
    rank = column - (junk_before - junk_of_earlier_queries[query])
    return Positives(query[~junk], rank[~junk], column[~junk])


def clip_max_rank(max_rank: int, available: int) -> int:
    """The length of a CMC, which is no longer than the gallery; a ValueError for what is no length."""
    need_whole("max_rank", max_rank)
    return min(max_rank, available)


def no_positive(query_ids: np.ndarray) -> ValueError:
    """The error for queries of which none can be found."""
    return ValueError(
        f"none of the {len(query_ids)} queries has a positive: no query identity is in the gallery under another camera"
    )
