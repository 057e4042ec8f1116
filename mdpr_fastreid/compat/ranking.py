"""Evaluation without a compiler: CMC, mAP, mINP and ROC.

Broken: the first ``ReidEvaluator`` runs ``make`` in the installed package to build ``rank_cylib`` with whatever
``python3`` is first on PATH, and ends the process where there is no compiler, no Cython or no right to write. The
pure-Python way beside it loops over queries and, on NumPy 1.24 to 1.26, asks for ``np.bool``. ``roc_curve`` is
handed every query x gallery pair as a Python list. With fewer than ten gallery images the evaluator asks for a Rank-10
that is not there.
Since: always. Can go: when the toolbox ships its extension built, or ranks without one.
"""

import types
import warnings

import numpy as np
from fastreid.evaluation import reid_evaluation

from mdpr_fastreid.compat.replacing import replace
from mdpr_fastreid.evaluation.ranking import rank_metrics, single_shot_metrics
from mdpr_fastreid.evaluation.roc import pair_scores, roc_curve

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Cython .* evaluation")
    from fastreid.evaluation import rank, roc


def apply() -> None:
    """Rank with :mod:`mdpr_fastreid.evaluation`, unless the toolbox's extension is there already built."""
    if not rank.IS_CYTHON_AVAI:
        replace(rank, "evaluate_rank", _evaluate_rank)
        reid_evaluation.ReidEvaluator._compile_dependencies = _compile_nothing
    if not roc.IS_CYTHON_AVAI:
        replace(roc, "evaluate_roc", _evaluate_roc)
        reid_evaluation.metrics = types.SimpleNamespace(roc_curve=roc_curve)


def _evaluate_rank(
    distmat: np.ndarray,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    q_camids: np.ndarray,
    g_camids: np.ndarray,
    max_rank: int = 50,
    use_metric_cuhk03: bool = False,
    use_cython: bool = True,
) -> tuple:
    if use_metric_cuhk03:
        return single_shot_metrics(distmat, q_pids, g_pids, q_camids, g_camids, max_rank)
    cmc, *precisions = rank_metrics(distmat, q_pids, g_pids, q_camids, g_camids, max_rank)
    return _up_to_rank_10(cmc), *precisions


def _up_to_rank_10(cmc: np.ndarray) -> np.ndarray:
    """The curve as far as the evaluator reports it: looking further than a small gallery finds nothing more."""
    return np.pad(cmc, (0, max(0, 10 - len(cmc))), mode="edge")


def _evaluate_roc(
    distmat: np.ndarray,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    q_camids: np.ndarray,
    g_camids: np.ndarray,
    use_cython: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    return pair_scores(distmat, q_pids, g_pids, q_camids, g_camids)


def _compile_nothing(evaluator: reid_evaluation.ReidEvaluator) -> None:
    """Nothing is left to compile."""
