"""Distances by name: what ``TEST.METRIC`` may be."""

from fastreid.utils.registry import Registry

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.evaluation.distance import cosine_distances, squared_euclidean_distances
from mdpr_fastreid.evaluation.features import Features
from mdpr_fastreid.evaluation.outputs import Distance
from mdpr_fastreid.evaluation.reranking import k_reciprocal_jaccard

DISTANCE_REGISTRY = Registry("DISTANCE")
DISTANCE_REGISTRY.__doc__ = """
Distances by the name that ``TEST.METRIC`` gives them: functions ``(query, gallery) -> [Q, G]`` of two tensors on the
CPU, ``[Q, D]`` and ``[G, D]``, or of two dicts of such tensors where the model gives dicts. What is re-ranked must
compute each pair on its own, see :func:`mdpr_fastreid.evaluation.rerank_by`.
"""


@DISTANCE_REGISTRY.register()
def cosine(query: Features, gallery: Features) -> Features:
    """:func:`mdpr_fastreid.evaluation.cosine_distances`."""
    return cosine_distances(query, gallery)


@DISTANCE_REGISTRY.register()
def euclidean(query: Features, gallery: Features) -> Features:
    """:func:`mdpr_fastreid.evaluation.squared_euclidean_distances`; FastReID's ``euclidean`` is squared, too."""
    return squared_euclidean_distances(query, gallery)


@DISTANCE_REGISTRY.register()
def jaccard(query: Features, gallery: Features, k1: int = 20, k2: int = 6) -> Features:
    """:func:`mdpr_fastreid.evaluation.k_reciprocal_jaccard`; the evaluator gives it ``TEST.RERANK.K1`` and ``K2``."""
    return k_reciprocal_jaccard(query, gallery, k1, k2)


def find_distance(name: str) -> Distance:
    """The distance that ``TEST.METRIC`` names.

    Raises:
        SettingsError: no distance of that name is registered.
    """
    try:
        return DISTANCE_REGISTRY.get(name)
    except KeyError:
        *first, last = DISTANCE_REGISTRY._obj_map
        raise SettingsError(f"TEST.METRIC must be {', '.join(first)} or {last}, got {name!r}") from None
