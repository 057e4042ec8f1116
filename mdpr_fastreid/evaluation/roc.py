"""The verification side of ReID: distances of same-identity and other-identity pairs, and their ROC."""

from collections.abc import Iterable

import numpy as np

from mdpr_fastreid.evaluation.arguments import check_labels, need_numbers, need_real
from mdpr_fastreid.evaluation.ranking import row_blocks


def pair_scores(
    distances: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of all query x gallery pairs that count, those of one identity first.

    A pair of one identity under one camera does not count.

    Args:
        distances: ``[Q, G]``, and the labels as for :func:`mdpr_fastreid.evaluation.ranking.rank_metrics`.

    Returns:
        scores: ``[P]`` in the dtype of ``distances``: within same and within other, query by query, ascending.
        labels: ``[P]`` bool: False where the pair shows one identity, True where two.

    Raises:
        ValueError: shapes do not fit, or a distance is NaN.
    """
    distances, query_ids, gallery_ids, query_cameras, gallery_cameras = check_labels(
        distances, query_ids, gallery_ids, query_cameras, gallery_cameras
    )
    rows, columns = distances.shape
    _, identity = np.unique(np.concatenate((query_ids, gallery_ids)), return_inverse=True)
    alike_pairs = np.bincount(identity[rows:], minlength=identity.max() + 1)[identity[:rows]].sum()

    same = _same_scores(distances, query_ids, gallery_ids, query_cameras, gallery_cameras)
    scores = np.empty(len(same) + distances.size - alike_pairs, dtype=same.dtype)
    scores[: len(same)] = same
    filled = len(same)
    for block in row_blocks(rows, columns):
        other = _sort_chosen(distances[block], gallery_ids[None] != query_ids[block, None])
        scores[filled : filled + len(other)] = other
        filled += len(other)
    labels = np.ones(len(scores), dtype=bool)
    labels[: len(same)] = False
    return scores, labels


def _same_scores(
    distances: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
) -> np.ndarray:
    """Distances of the pairs of one identity that count, query by query, ascending."""
    same = []
    for block in row_blocks(*distances.shape):
        need_numbers(distances[block], block.start)
        alike = gallery_ids[None] == query_ids[block, None]
        same.append(_sort_chosen(distances[block], alike & (gallery_cameras[None] != query_cameras[block, None])))
    return np.concatenate(same)


def _sort_chosen(distances: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The chosen distances, row by row, ascending within a row."""
    ascending = np.sort(np.where(chosen, distances, np.inf), axis=1)
    return ascending[np.arange(distances.shape[1]) < chosen.sum(axis=1, keepdims=True)]


def roc_curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's ROC curve, in memory that grows with the same-identity pairs only.

    Other-identity pairs outnumber same-identity ones thousands of times. Between two neighbouring distances of
    same-identity pairs the curve is a vertical line whatever lies there, so those pairs become one weighted
    point. Every false-positive rate of scikit-learn's curve keeps its first point, hence ``TPR@FPR`` is the same.

    Args:
        labels: ``[P]`` true where the pair shows two identities, as :func:`pair_scores` returns them.
        scores: ``[P]`` distances.

    Returns:
        False-positive rates, true-positive rates and thresholds, as ``sklearn.metrics.roc_curve``.

    Raises:
        ValueError: not two arrays of one length, labels other than true and false (or 1 and 0), scores that are NaN
            or no numbers, or all pairs are of one kind, so that there is no curve.
    """
    labels, scores = _checked_pairs(np.asarray(labels), np.asarray(scores))
    others = (scores[block][labels[block]] for block in row_blocks(len(scores), 1))
    return _curve(scores[~labels], others)


def _checked_pairs(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(f"labels and scores must be two arrays [P], got shapes {labels.shape} and {scores.shape}")
    need_real("scores", scores)
    if np.isnan(scores.min(initial=np.inf)):  # in no more memory
        raise ValueError(f"scores has NaN, first at {int(np.isnan(scores).argmax())}")
    need_real("labels", labels)
    alike = labels.astype(bool, copy=False)
    if labels.dtype != bool and not np.array_equal(alike, labels):
        raise ValueError("labels must be true (or 1) where the pair shows two identities, and false (or 0) elsewhere")
    return alike, scores


def roc_of_distances(
    distances: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """:func:`roc_curve` of :func:`pair_scores`, without the scores of all pairs, which take as much as the distances.

    Args:
        distances: ``[Q, G]``, and the labels as for :func:`pair_scores`.

    Returns:
        As :func:`roc_curve`.

    Raises:
        ValueError: as both.
    """
    distances, query_ids, gallery_ids, *cameras = check_labels(
        distances, query_ids, gallery_ids, query_cameras, gallery_cameras
    )
    others = (distances[block][gallery_ids[None] != query_ids[block, None]] for block in row_blocks(*distances.shape))
    return _curve(_same_scores(distances, query_ids, gallery_ids, *cameras), others)


def _curve(same: np.ndarray, others: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The curve of the scores of same-identity pairs and, some at a time, of other-identity pairs."""
    from sklearn import metrics  # takes a second or two to import

    same, same_counts = np.unique(same, return_counts=True)
    # Bin 2i lies strictly below same[i] and bin 2i + 1 is equal to it: ties must stay ties
    other_counts, lowest = np.zeros(2 * len(same) + 1, dtype=np.int64), same[0] if len(same) else np.inf
    for values in others:
        bins = np.searchsorted(same, values, "left") + np.searchsorted(same, values, "right")
        other_counts += np.bincount(bins, minlength=len(other_counts))
        lowest = min(lowest, values.min(initial=np.inf))
    if not len(same) or not other_counts.any():
        raise ValueError(
            f"a ROC needs pairs of one identity and of two, got {same_counts.sum()} and {other_counts.sum()}"
        )
    position = np.arange(len(other_counts), dtype=float)
    counts = np.concatenate((same_counts, other_counts))
    held = counts > 0
    false_rates, true_rates, reached = metrics.roc_curve(
        (np.arange(len(counts)) >= len(same))[held],
        np.concatenate((position[1::2], position))[held],
        sample_weight=counts[held],
    )
    thresholds = np.empty(len(position), dtype=same.dtype)
    thresholds[0] = lowest
    thresholds[1::2] = same
    thresholds[2::2] = np.nextafter(same, np.inf)
    return false_rates, true_rates, np.concatenate(([np.inf], thresholds[reached[1:].astype(int)]))
