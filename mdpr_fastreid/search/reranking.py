"""Re-ranking what a store finds by k-reciprocal neighbours."""

from collections.abc import Sequence

import numpy as np

from mdpr_fastreid.evaluation import blended_distances
from mdpr_fastreid.search.store import Hit, Store

DEPTH = 1000
"""Hits that are re-ranked."""


def rerank(store: Store, query: np.ndarray, hits: Sequence[Hit]) -> list[Hit]:
    """The hits of a query in the order of their re-ranked distances.

    These are the distances that an evaluation with ``TEST.RERANK`` ranks by (Zhong et al., CVPR 2017; k1 20, k2 6,
    lambda 0.3), with the hits as the gallery: what is not among them cannot come up.

    Args:
        store: which found them.
        query: ``[D]``.
        hits: of it, in any order.

    Returns:
        The same hits with :attr:`~mdpr_fastreid.search.Hit.reranked`, nearest first.

    Raises:
        UsageError: one is not in the store any more.
    """
    if not hits:
        return []
    gallery = store.vectors([hit.name for hit in hits])
    distances = blended_distances(np.asarray(query, dtype=np.float32)[None], gallery, "cosine")[0]
    order = np.argsort(distances, kind="stable")
    return [hits[row]._replace(reranked=float(distances[row])) for row in order]


def search_reranked(store: Store, vectors: np.ndarray, top: int, **condition) -> list[list[Hit]]:
    """As :meth:`Store.search`, of which the first :data:`DEPTH` hits (``top``, where that is more) are re-ranked.

    Args:
        store: to search.
        vectors: ``[Q, D]``.
        top: hits for a query.
        condition: the filter, as of :meth:`Store.search`.
    """
    found = store.search(vectors, max(top, DEPTH), **condition)
    return [rerank(store, query, hits)[:top] for query, hits in zip(vectors, found, strict=True)]
