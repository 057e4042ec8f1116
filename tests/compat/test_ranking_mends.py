"""The toolbox's evaluator, as it stands, ranks and re-ranks through our functions."""

import subprocess

import numpy as np
import pytest
import torch
from fastreid.config import get_cfg
from fastreid.evaluation import ReidEvaluator, rank, roc


@pytest.fixture
def features():
    """Fourteen queries and 86 gallery images of ten identities under three cameras."""
    generator = torch.Generator().manual_seed(0)
    identities = torch.arange(100) % 10
    centres = torch.randn(10, 16, generator=generator)
    return {
        "feats": centres[identities] + 1.2 * torch.randn(100, 16, generator=generator),
        "pids": identities,
        "camids": torch.randint(0, 3, (100,), generator=generator),
    }


def _config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(list(options))
    return cfg


def _evaluate(cfg, features, num_query=14):
    evaluator = ReidEvaluator(cfg, num_query)
    for start in range(0, 100, 32):
        part = slice(start, start + 32)
        inputs = {"targets": features["pids"][part], "camids": features["camids"][part]}
        evaluator.process(inputs, features["feats"][part])
    return evaluator.evaluate()


def test_the_evaluator_never_compiles(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("make was run"))
    ReidEvaluator(_config(), 3)


def test_the_evaluator_reports_what_stocks_loops_and_scikit_learn_give(features):
    from sklearn import metrics

    distances = 1 - torch.cosine_similarity(features["feats"][:14, None], features["feats"][None, 14:], dim=2).numpy()
    ids, cameras = features["pids"].numpy(), features["camids"].numpy()
    labels = ids[:14], ids[14:], cameras[:14], cameras[14:]
    cmc, precision, penalty = rank.eval_market1501(distances, *labels, 50)
    scores, same = roc.evaluate_roc_py(distances, *labels)
    false_rates, true_rates, _ = metrics.roc_curve(same, scores)

    results = _evaluate(_config("TEST.ROC.ENABLED", True), features)

    assert results["Rank-1"] == pytest.approx(cmc[0] * 100)
    assert results["Rank-5"] == pytest.approx(cmc[4] * 100)
    assert results["mAP"] == pytest.approx(np.mean(precision) * 100, abs=1e-4)
    assert results["mINP"] == pytest.approx(np.mean(penalty) * 100, abs=1e-4)
    for key, rate in (("TPR@FPR=1e-04", 1e-4), ("TPR@FPR=1e-02", 1e-2)):
        assert results[key] == pytest.approx(true_rates[np.argmin(np.abs(false_rates - rate))])


def test_queries_without_a_positive_end_in_one_clear_error(features):
    features["pids"] = torch.arange(100)
    with pytest.raises(ValueError, match="none of the 14 queries has a positive"):
        _evaluate(_config(), features)


def test_the_single_shot_metric_runs():
    distances = np.array([[0.1, 0.2], [0.3, 0.1]])
    cmc, mean_precision = rank.evaluate_rank(
        distances, np.array([0, 1]), np.array([0, 1]), np.zeros(2), np.ones(2), use_metric_cuhk03=True
    )
    np.testing.assert_array_equal(cmc, [1, 1])
    assert mean_precision == 1
