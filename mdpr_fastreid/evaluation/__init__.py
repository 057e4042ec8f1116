"""Ranking and re-ranking on any device: arrays in, arrays out, no config."""

from mdpr_fastreid.evaluation.distance import cosine_distances, squared_euclidean_distances
from mdpr_fastreid.evaluation.query_expansion import average_query_expansion
from mdpr_fastreid.evaluation.ranking import Ranking, rank_metrics, single_shot_metrics
from mdpr_fastreid.evaluation.reranking import (
    blended_distances,
    k_reciprocal_jaccard,
    rerank,
    rerank_distances,
)
from mdpr_fastreid.evaluation.roc import pair_scores, roc_curve

__all__ = [
    "Ranking",
    "average_query_expansion",
    "blended_distances",
    "cosine_distances",
    "k_reciprocal_jaccard",
    "pair_scores",
    "rank_metrics",
    "rerank",
    "rerank_distances",
    "roc_curve",
    "single_shot_metrics",
    "squared_euclidean_distances",
]
