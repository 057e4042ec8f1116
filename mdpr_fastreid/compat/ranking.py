"""Stock's evaluator without a compiler and without CUDA; our own path is ``mdpr_fastreid.evaluation.Evaluator``."""

import warnings
from collections.abc import Callable

import numpy as np
import torch

from mdpr_fastreid.compat.patching import Patch, resolve

# FastReID recommends its extension wherever it is not built: what ranks in its place here is as fast
warnings.filterwarnings("ignore", message="Cython (rank|roc) evaluation")

_CPU_SEARCH = 3


def _has_extension() -> bool:
    return resolve("fastreid.evaluation.rank:IS_CYTHON_AVAI")


def _searches_on_gpu() -> bool:
    """Whether the search by which stock's jaccard distance starts can run here."""
    import faiss

    called = ("StandardGpuResources", "bruteForceKnn", "cast_integer_to_float_ptr", "cast_integer_to_long_ptr")
    return torch.cuda.is_available() and all(hasattr(faiss, name) for name in called)


def _compile_nothing(stock: Callable) -> Callable:
    def _compile_dependencies(evaluator) -> None:
        """Nothing is left to compile."""

    return _compile_dependencies


def _rank_with_ours(stock: Callable) -> Callable:
    from mdpr_fastreid.evaluation import rank_metrics, single_shot_metrics

    def evaluate_rank(
        distmat: np.ndarray,
        q_pids: np.ndarray,
        g_pids: np.ndarray,
        q_camids: np.ndarray,
        g_camids: np.ndarray,
        max_rank: int = 50,
        use_metric_cuhk03: bool = False,
        use_cython: bool = True,
    ) -> tuple:
        """As stock, with a CMC of ten ranks at least: looking further in a small gallery finds nothing more."""
        if use_metric_cuhk03:
            return single_shot_metrics(distmat, q_pids, g_pids, q_camids, g_camids, max_rank)
        cmc, *precisions = rank_metrics(distmat, q_pids, g_pids, q_camids, g_camids, max_rank)
        return np.pad(cmc, (0, max(0, 10 - len(cmc))), mode="edge"), *precisions

    return evaluate_rank


def _jaccard_with_ours(stock: Callable) -> Callable:
    from mdpr_fastreid.evaluation.reranking import k_reciprocal_jaccard

    def compute_jaccard_distance(
        features: torch.Tensor, k1: int = 20, k2: int = 6, search_option: int = 0, fp16: bool = False
    ) -> np.ndarray:
        """As stock, on a GPU where there is one."""
        on_gpu = search_option != _CPU_SEARCH and torch.cuda.is_available()
        distances = k_reciprocal_jaccard(features.to("cuda" if on_gpu else "cpu"), k1=k1, k2=k2).cpu().numpy()
        return distances.astype(np.float16) if fp16 else distances

    return compute_jaccard_distance


PATCHES = (
    Patch(
        target="fastreid.evaluation.reid_evaluation:ReidEvaluator._compile_dependencies",
        fixes="The first evaluator runs make in the installed package, with whatever python3 is first on PATH, and "
        "ends the process where there is no compiler, no Cython or no right to write.",
        since="every version, unless the extension is built",
        until="the toolbox ships its extension built, or ranks without one",
        source="834ab8c6505f",
        make=_compile_nothing,
        needed=lambda: not _has_extension(),
    ),
    Patch(
        target="fastreid.evaluation.rank:evaluate_rank",
        fixes="Without the extension, ranking fails on a gallery of fewer than ten images, on queries with much junk, "
        "and, single-shot, on NumPy 1.24 to 1.26, which have no np.bool.",
        since="every version, unless the extension is built",
        until="the toolbox ships its extension built, or its Python code ranks small galleries",
        source="89011154f43c",
        make=_rank_with_ours,
        needed=lambda: not _has_extension(),
    ),
    Patch(
        target="fastreid.utils.compute_dist:compute_jaccard_distance",
        fixes="TEST.RERANK moves the features to a GPU and searches by FAISS functions that recent releases lack.",
        since="every version without CUDA; FAISS 1.7.3 with it",
        until="the toolbox searches where the features are",
        source="cf0e38f2f938",
        make=_jaccard_with_ours,
        needed=lambda: not _searches_on_gpu(),
    ),
)
