"""The most similar of all vectors, by computing every similarity."""

from collections.abc import Iterable

import numpy as np


def nearest(
    queries: np.ndarray, blocks: Iterable[tuple[np.ndarray, np.ndarray]], top: int
) -> tuple[np.ndarray, np.ndarray]:
    """The ``top`` vectors with the largest inner product with each query.

    It takes ``2 Q N D`` operations and holds a block and its products.

    Args:
        queries: ``[Q, D]`` float32.
        blocks: (rows ``[n]`` int64, their vectors ``[n, D]``), some at a time.
        top: 1 or more.

    Returns:
        Similarities ``[Q, K]`` float32, largest first, and rows ``[Q, K]`` int64; ``K`` is ``top``, or less where there
        are fewer vectors. Among equal ones the first row comes first.
    """
    scores = np.empty((len(queries), 0), dtype=np.float32)
    rows = np.empty((len(queries), 0), dtype=np.int64)
    for block_rows, vectors in blocks:
        products = queries @ vectors.T
        if products.shape[1] > top:
            best = np.argpartition(-products, top - 1, axis=1)[:, :top]
            products, block_rows = np.take_along_axis(products, best, axis=1), block_rows[best]
        else:
            block_rows = np.broadcast_to(block_rows, products.shape)
        scores, rows = best_of(np.hstack((scores, products)), np.hstack((rows, block_rows)), top)
    return scores, rows


def best_of(scores: np.ndarray, rows: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``top`` largest of each line, largest first, equal ones by row: of ``[Q, K]`` scores and their rows."""
    order = np.lexsort((rows, -scores), axis=1)[:, :top]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
