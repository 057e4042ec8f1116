"""CMC of galleries with one random image of each identity, as CUHK03's classic split has it."""

import numpy as np

from mdpr_fastreid.evaluation.arguments import check_labels, need_numbers, need_whole
from mdpr_fastreid.evaluation.positives import Positives, clip_max_rank, find_positives, no_positive
from mdpr_fastreid.evaluation.ranking import rank_metrics, row_blocks


def single_shot_metrics(
    distances: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
    max_rank: int = 50,
    repeats: int = 10,
    rng: np.random.Generator | None = None,
    average_precision: str = "step",
) -> tuple[np.ndarray, np.float64]:
    """Rank as CUHK03's classic split does (Li et al., CVPR 2014): one random gallery image of each identity.

    Args:
        distances: ``[Q, G]``, and the other arrays as for :func:`rank_metrics`.
        max_rank: length of the CMC; with fewer gallery identities it is their number.
        repeats: how many random galleries each query's CMC is the mean of.
        rng: what draws them; seeded with 0 by default, so that a result can be repeated.
        average_precision: as for :func:`rank_metrics`.

    Returns:
        The CMC ``[min(max_rank, gallery identities)]`` float32, and the mAP over the whole gallery.

    Raises:
        ValueError: as :func:`rank_metrics`, and ``repeats`` below 1.
    """
    distances, query_ids, gallery_ids, query_cameras, gallery_cameras = check_labels(
        distances, query_ids, gallery_ids, query_cameras, gallery_cameras
    )
    need_whole("repeats", repeats)
    rng = rng or np.random.default_rng(0)
    identities, counts = np.unique(gallery_ids, return_counts=True)
    max_rank = clip_max_rank(max_rank, len(identities))
    by_identity = np.argsort(gallery_ids, kind="stable")
    starts = np.cumsum(counts) - counts

    found_at = np.zeros(len(identities), dtype=np.int64)
    for block in row_blocks(*distances.shape):
        need_numbers(distances[block], block.start)
        order = np.argsort(distances[block], axis=1)
        positives = find_positives(order, query_ids[block], gallery_ids, query_cameras[block], gallery_cameras)
        first, count = _per_query(positives)
        valid = positives.query[first]
        position = np.empty_like(order)
        np.put_along_axis(position, order, np.arange(order.shape[1])[None], axis=1)
        others = identities[None] != query_ids[block][valid, None]
        for _ in range(repeats):
            own = positives.column[first + rng.integers(0, count)] if len(first) else first
            drawn = by_identity[starts + rng.integers(0, counts, size=(len(valid), len(identities)))]
            nearer = (position[valid[:, None], drawn] < own[:, None]) & others
            found_at += np.bincount(nearer.sum(axis=1), minlength=len(identities))
    if not found_at.any():
        raise no_positive(query_ids)
    cmc = np.cumsum(found_at)[:max_rank] / found_at.sum()
    labels = query_ids, gallery_ids, query_cameras, gallery_cameras
    full = rank_metrics(distances, *labels, max_rank, average_precision)
    return cmc.astype(np.float32), full.average_precision.mean()


def _per_query(positives: Positives) -> tuple[np.ndarray, np.ndarray]:
    """Index of each valid query's first positive, and how many it has."""
    _, first, count = np.unique(positives.query, return_index=True, return_counts=True)
    return first, count
