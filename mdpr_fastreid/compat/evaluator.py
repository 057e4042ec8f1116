"""The evaluator's distances: ``TEST.METRIC jaccard``, and re-ranking within the memory of one matrix.

Broken: with ``TEST.METRIC jaccard`` the evaluator calls ``build_dist`` without ``k1`` and ``k2`` and ends in a
``KeyError``. With ``TEST.RERANK`` it mixes two query x gallery matrices in an expression that holds four, 14 GiB at
MSMT17's size.
Since: always. Can go: when the evaluator passes ``TEST.RERANK`` on, and blends in place.
"""

import functools
import logging
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.evaluation import reid_evaluation

from mdpr_fastreid.compat.distances import on_gpu
from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.evaluation.reranking import blended_distances


def apply() -> None:
    """Let the evaluator rank by our distances; the rest of its ``evaluate`` stays as it is."""
    reid_evaluation.ReidEvaluator.evaluate = _by_our_distances(reid_evaluation.ReidEvaluator.evaluate)


def _by_our_distances(stock_evaluate: Callable) -> Callable:
    @functools.wraps(stock_evaluate)
    def evaluate(evaluator: reid_evaluation.ReidEvaluator) -> dict:
        asked = evaluator.cfg
        # The distances come re-ranked where the evaluator asks for them first, so it must not do it once more
        evaluator.cfg = asked.clone()
        evaluator.cfg.defrost()
        evaluator.cfg.TEST.RERANK.ENABLED = False
        build_dist = functools.partial(_build_dist, asked.TEST, reid_evaluation.build_dist)
        try:
            with mock.patch.object(reid_evaluation, "build_dist", build_dist):
                return stock_evaluate(evaluator)
        except ValueError as error:  # of our functions, each with one line that names what cannot be
            raise SettingsError(f"the test set cannot be evaluated: {error}") from error
        finally:
            evaluator.cfg = asked

    return evaluate


def _build_dist(
    test: CfgNode, build_dist: Callable, query: torch.Tensor, gallery: torch.Tensor, metric: str
) -> np.ndarray:
    rerank = test.RERANK
    if not rerank.ENABLED and metric != "jaccard":
        return build_dist(query, gallery, metric)
    logger = logging.getLogger(reid_evaluation.__name__)
    logger.info(f"Re-ranking: k1 {rerank.K1}, k2 {rerank.K2}, lambda {rerank.LAMBDA}, {metric} distance")
    distances = blended_distances(on_gpu(query), on_gpu(gallery), metric, rerank.K1, rerank.K2, rerank.LAMBDA)
    return distances.cpu().numpy()
