"""Evaluation on any device: the evaluator, and below it functions that take and return arrays and know no config."""

from mdpr_fastreid.evaluation.distance import cosine_distances, squared_euclidean_distances
from mdpr_fastreid.evaluation.distance_registry import DISTANCE_REGISTRY
from mdpr_fastreid.evaluation.evaluator import Collected, Evaluator, Measured
from mdpr_fastreid.evaluation.inference import collect_outputs, evaluate_model, evaluator_for
from mdpr_fastreid.evaluation.query_expansion import average_query_expansion
from mdpr_fastreid.evaluation.rank_lists import RankedGallery, RankLists, rank_lists, ranked_gallery
from mdpr_fastreid.evaluation.ranking import Ranking, rank_by_rules, rank_metrics
from mdpr_fastreid.evaluation.reranking import (
    blended_distances,
    k_reciprocal_jaccard,
    rerank,
    rerank_by,
    rerank_distances,
)
from mdpr_fastreid.evaluation.roc import pair_scores, roc_curve, roc_of_distances
from mdpr_fastreid.evaluation.settings import check_test_settings
from mdpr_fastreid.evaluation.single_shot import single_shot_metrics

__all__ = [
    "DISTANCE_REGISTRY",
    "Collected",
    "Evaluator",
    "Measured",
    "RankLists",
    "RankedGallery",
    "Ranking",
    "average_query_expansion",
    "blended_distances",
    "check_test_settings",
    "collect_outputs",
    "cosine_distances",
    "evaluate_model",
    "evaluator_for",
    "k_reciprocal_jaccard",
    "pair_scores",
    "rank_by_rules",
    "rank_lists",
    "rank_metrics",
    "ranked_gallery",
    "rerank",
    "rerank_by",
    "rerank_distances",
    "roc_curve",
    "roc_of_distances",
    "single_shot_metrics",
    "squared_euclidean_distances",
]
