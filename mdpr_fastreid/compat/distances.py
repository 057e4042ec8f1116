"""Distances, re-ranking and query expansion on any device, at any size.

Broken: ``build_dist(metric="jaccard")``, which is what ``TEST.RERANK`` and ``TEST.METRIC jaccard`` call, fixes the
search to the GPU (``.cuda()``, ``faiss.StandardGpuResources``), through ``faiss.bruteForceKnn`` and
``faiss.cast_integer_to_long_ptr``, which recent FAISS does not have. Where it runs it takes several dense ``N x N``
matrices and loops over images, as do ``re_ranking`` and ``aqe``.
Since: always on a CPU; FAISS 1.7.3 (2022) on a GPU. Can go: when the toolbox re-ranks on sparse sets.

The numbers stay the toolbox's, so this stands in its place everywhere. The features go to a GPU where there is one,
as they did before.
"""

import functools

import numpy as np
import torch
from fastreid.evaluation import query_expansion, rerank
from fastreid.utils import compute_dist

from mdpr_fastreid.compat.replacing import replace
from mdpr_fastreid.evaluation.distance import cosine_distances, squared_euclidean_distances
from mdpr_fastreid.evaluation.query_expansion import average_query_expansion
from mdpr_fastreid.evaluation.reranking import k_reciprocal_jaccard, rerank_distances

_CPU_SEARCH = 3


def apply() -> None:
    """Put our functions where the toolbox calls its own, which stay in reach as ``__wrapped__``."""
    for module, name, ours in (
        (compute_dist, "build_dist", _build_dist),
        (compute_dist, "compute_jaccard_distance", _compute_jaccard_distance),
        (compute_dist, "compute_euclidean_distance", _compute_euclidean_distance),
        (compute_dist, "compute_cosine_distance", _compute_cosine_distance),
        (query_expansion, "aqe", _aqe),
        (rerank, "re_ranking", _re_ranking),
    ):
        functools.update_wrapper(ours, replace(module, name, ours), assigned=("__doc__",))


def _build_dist(feat_1: torch.Tensor, feat_2: torch.Tensor, metric: str = "euclidean", **kwargs: int) -> np.ndarray:
    if metric == "euclidean":
        return _compute_euclidean_distance(feat_1, feat_2)
    if metric == "cosine":
        return _compute_cosine_distance(feat_1, feat_2)
    if metric == "jaccard":
        return k_reciprocal_jaccard(on_gpu(feat_1), on_gpu(feat_2), **kwargs).cpu().numpy()
    raise ValueError(f"TEST.METRIC must be cosine, euclidean or jaccard, got {metric!r}")


def _compute_jaccard_distance(
    features: torch.Tensor, k1: int = 20, k2: int = 6, search_option: int = 0, fp16: bool = False
) -> np.ndarray:
    features = features.cpu() if search_option == _CPU_SEARCH else on_gpu(features)
    distances = k_reciprocal_jaccard(features, k1=k1, k2=k2).cpu().numpy()
    return distances.astype(np.float16) if fp16 else distances


def _compute_euclidean_distance(features: torch.Tensor, others: torch.Tensor) -> np.ndarray:
    return squared_euclidean_distances(features, others).cpu().numpy()


def _compute_cosine_distance(features: torch.Tensor, others: torch.Tensor) -> np.ndarray:
    return cosine_distances(features, others).cpu().numpy()


def _aqe(
    query_feat: torch.Tensor, gallery_feat: torch.Tensor, qe_times: int = 1, qe_k: int = 10, alpha: float = 3.0
) -> tuple[torch.Tensor, torch.Tensor]:
    return average_query_expansion(query_feat, gallery_feat, qe_times, qe_k, alpha)


def _re_ranking(
    q_g_dist: np.ndarray,
    q_q_dist: np.ndarray,
    g_g_dist: np.ndarray,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
) -> np.ndarray:
    return rerank_distances(q_g_dist, q_q_dist, g_g_dist, k1, k2, lambda_value)


def on_gpu(features: torch.Tensor) -> torch.Tensor:
    """``features`` on the current GPU, or where they are if there is none."""
    return features.cuda() if torch.cuda.is_available() else features
