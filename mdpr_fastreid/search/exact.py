"""The most similar of all vectors, by computing every similarity."""

from collections.abc import Iterable

import numpy as np

_QUERIES_AT_ONCE = 128


def nearest(
    queries: np.ndarray,
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
    top: int,
    allowed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The ``top`` vectors with the largest inner product with each query.

    It takes ``2 Q N D`` operations and holds a block and its products with some queries.

    Args:
        queries: ``[Q, D]`` float32.
        blocks: (rows ``[n]`` int64, their vectors ``[n, D]``), some at a time.
        top: 1 or more.
        allowed: ``[N]`` bool, the rows that may be found; None for all.

    Returns:
        Similarities ``[Q, K]`` float32, largest first, and rows ``[Q, K]`` int64; ``K`` is ``top``, or less where there
        are fewer vectors. Where fewer are allowed, rows end with -1.
    """
    parts = [slice(start, start + _QUERIES_AT_ONCE) for start in range(0, len(queries), _QUERIES_AT_ONCE)]
    found = [_Best(len(queries[part]), top) for part in parts]
    for rows, vectors in blocks:
        for part, best in zip(parts, found, strict=True):
            products = queries[part] @ vectors.T
            if allowed is not None:
                products[:, ~allowed[rows]] = -np.inf
            best.add(products, rows)
    if not found:
        return np.empty((0, 0), dtype=np.float32), np.empty((0, 0), dtype=np.int64)
    scores, rows = (np.concatenate(column) for column in zip(*((one.scores, one.rows) for one in found), strict=True))
    return scores, np.where(np.isneginf(scores), -1, rows)


class _Best:
    """The ``top`` largest of each query so far."""

    def __init__(self, queries: int, top: int) -> None:
        self._top = top
        self.scores, self.rows = np.empty((queries, 0), dtype=np.float32), np.empty((queries, 0), dtype=np.int64)

    def add(self, products: np.ndarray, rows: np.ndarray) -> None:
        if products.shape[1] > self._top:
            best = np.argpartition(-products, self._top - 1, axis=1)[:, : self._top]
            products, rows = np.take_along_axis(products, best, axis=1), rows[best]
        else:
            rows = np.broadcast_to(rows, products.shape)
        both = np.hstack((self.scores, products)), np.hstack((self.rows, rows))
        self.scores, self.rows = best_of(*both, self._top)


def best_of(scores: np.ndarray, rows: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``top`` largest of each line, largest first, equal ones by row: of ``[Q, K]`` scores and their rows."""
    order = np.lexsort((rows, -scores), axis=1)[:, :top]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
