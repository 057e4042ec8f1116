"""The toolbox's evaluator, as it stands, ranks and re-ranks through our functions."""

import subprocess

import numpy as np
import pytest
import torch
from fastreid.config import get_cfg
from fastreid.evaluation import ReidEvaluator, query_expansion, rank, reid_evaluation, rerank, roc
from fastreid.utils import compute_dist
from sklearn import metrics
from small_runs import small_config, trained

from mdpr_fastreid.errors import UsageError


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
    for start in range(0, len(features["pids"]), 32):
        part = slice(start, start + 32)
        inputs = {"targets": features["pids"][part], "camids": features["camids"][part]}
        evaluator.process(inputs, features["feats"][part])
    return evaluator.evaluate()


def test_the_evaluator_never_compiles(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("make was run"))
    ReidEvaluator(_config(), 3)


def test_the_evaluator_reports_what_stocks_loops_and_scikit_learn_give(features):
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


def test_a_gallery_of_fewer_than_ten_images_has_a_rank_10():
    pair = {"feats": torch.eye(4), "pids": torch.tensor([0, 1, 2, 0]), "camids": torch.tensor([0, 1, 1, 1])}
    results = _evaluate(_config("TEST.METRIC", "euclidean"), pair, num_query=1)
    assert results["Rank-5"] == results["Rank-10"] == 100


def test_queries_without_a_positive_end_in_one_clear_error(features):
    features["pids"] = torch.arange(100)
    with pytest.raises(UsageError, match="cannot be evaluated: none of the 14 queries has a positive"):
        _evaluate(_config(), features)
    with pytest.raises(UsageError, match="cannot be evaluated: k1 must be 1 or more, got 0"):
        _evaluate(_config("TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 0), features)


def test_the_single_shot_metric_runs():
    distances = np.array([[0.1, 0.2], [0.3, 0.1]])
    cmc, mean_precision = rank.evaluate_rank(
        distances, np.array([0, 1]), np.array([0, 1]), np.zeros(2), np.ones(2), use_metric_cuhk03=True
    )
    np.testing.assert_array_equal(cmc, [1, 1])
    assert mean_precision == 1


@pytest.fixture(scope="module")
def trained_features(tmp_path_factory):
    """Query and gallery features, identities and cameras of a network after some epochs on SynthReIDTiny."""
    trainer = trained(small_config(tmp_path_factory.mktemp("run"), "SOLVER.MAX_EPOCH", 5, "TEST.EVAL_PERIOD", 5))
    loader, num_query = trainer.build_test_loader(trainer.cfg, "SynthReIDTiny")
    trainer.model.eval()
    parts = []
    with torch.no_grad():
        for batch in loader:
            parts.append((trainer.model(batch), batch["targets"], batch["camids"]))
    features, identities, cameras = (torch.cat(part) for part in zip(*parts, strict=True))
    return {"feats": features, "pids": identities, "camids": cameras}, num_query


def _stock_reranked(features, num_query, metric, lambda_value, **sizes):
    """What the evaluator computes, with the toolbox's own distances on its CPU path."""
    query, gallery = features["feats"][:num_query], features["feats"][num_query:]
    distances = 0
    if metric != "jaccard":
        distances = getattr(compute_dist, f"compute_{metric}_distance").__wrapped__(query, gallery)
    if metric == "cosine":
        query, gallery = (torch.nn.functional.normalize(part, dim=1) for part in (query, gallery))
    jaccard = compute_dist.compute_jaccard_distance.__wrapped__(torch.cat((query, gallery)), search_option=3, **sizes)
    return jaccard[:num_query, num_query:] * (1 - lambda_value) + distances * lambda_value


@pytest.mark.filterwarnings("ignore:This overload of addmm_ is deprecated")
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_re_ranking_of_a_trained_model_scores_as_stocks(trained_features, metric):
    features, num_query = trained_features
    distances = _stock_reranked(features, num_query, metric, 0.3)
    ids, cameras = features["pids"].numpy(), features["camids"].numpy()
    labels = ids[:num_query], ids[num_query:], cameras[:num_query], cameras[num_query:]
    cmc, precision, penalty = rank.eval_market1501(distances, *labels, 50)

    cfg = _config("TEST.RERANK.ENABLED", True, "TEST.RERANK.LAMBDA", 0.3, "TEST.METRIC", metric)
    results = _evaluate(cfg, features, num_query)

    assert results["Rank-1"] / 100 == pytest.approx(cmc[0], abs=1e-4)
    assert results["mAP"] / 100 == pytest.approx(np.mean(precision), abs=1e-4)
    assert results["mINP"] / 100 == pytest.approx(np.mean(penalty), abs=1e-4)
    unranked = _evaluate(_config("TEST.METRIC", metric), features, num_query)
    assert results["mAP"] != pytest.approx(unranked["mAP"], abs=1e-3)


def test_the_metric_jaccard_ranks_by_the_toolboxs_jaccard_distance(features):
    query, gallery = features["feats"][:14], features["feats"][14:]
    ours = compute_dist.build_dist(query, gallery, "jaccard")
    stock = compute_dist.compute_jaccard_distance.__wrapped__(features["feats"], k1=20, k2=6, search_option=3)
    np.testing.assert_allclose(ours, stock[:14, 14:], atol=1e-5)
    results = _evaluate(_config("TEST.METRIC", "jaccard"), features)
    assert results["mAP"] > _evaluate(_config("TEST.METRIC", "euclidean"), features)["mAP"]


@pytest.mark.parametrize(("search_option", "fp16"), [(0, False), (3, False), (3, True)])
def test_all_pairs_of_the_toolboxs_jaccard_distance(features, search_option, fp16):
    stock = compute_dist.compute_jaccard_distance.__wrapped__(features["feats"], k1=8, k2=3, search_option=3)
    ours = compute_dist.compute_jaccard_distance(features["feats"], 8, 3, search_option, fp16)
    assert ours.dtype == (np.float16 if fp16 else np.float32)
    np.testing.assert_allclose(ours, stock, atol=1e-3 if fp16 else 1e-5)


@pytest.mark.filterwarnings("ignore:This overload of addmm_ is deprecated")
@pytest.mark.parametrize(
    "options",
    [
        ("TEST.METRIC", "jaccard"),
        ("TEST.METRIC", "jaccard", "TEST.RERANK.ENABLED", True),
        ("TEST.METRIC", "cosine", "TEST.RERANK.ENABLED", True),
        ("TEST.METRIC", "euclidean", "TEST.RERANK.ENABLED", True),
    ],
)
def test_the_evaluator_takes_k1_k2_and_lambda_from_the_config(features, monkeypatch, options):
    handed = []
    monkeypatch.setattr(rank, "evaluate_rank", lambda distances, *_: handed.append(distances) or (np.ones(10), 1, 1))
    cfg = _config(*options, "TEST.RERANK.K1", 7, "TEST.RERANK.K2", 3, "TEST.RERANK.LAMBDA", 0.4)
    cfg.freeze()

    _evaluate(cfg, features)

    metric = cfg.TEST.METRIC
    expected = _stock_reranked(features, 14, metric, 0.0 if metric == "jaccard" else 0.4, k1=7, k2=3)
    np.testing.assert_allclose(handed[0], expected, atol=1e-5)
    assert ("TEST.RERANK.ENABLED" in options) == cfg.TEST.RERANK.ENABLED


def test_a_failed_evaluation_leaves_the_evaluator_its_config_and_the_toolbox_its_distances(features):
    cfg = _config("TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 0)
    evaluator, build_dist = ReidEvaluator(cfg, 14), reid_evaluation.build_dist
    evaluator.process({"targets": features["pids"], "camids": features["camids"]}, features["feats"])
    with pytest.raises(ValueError, match="k1 must be 1 or more, got 0"):
        evaluator.evaluate()
    assert evaluator.cfg is cfg
    assert reid_evaluation.build_dist is build_dist


def test_query_expansion_reaches_the_evaluator(features):
    query, gallery = query_expansion.aqe.__wrapped__(features["feats"][:14], features["feats"][14:], 2, 7, 1.0)
    expanded = _evaluate(_config(), features | {"feats": torch.cat((query, gallery))})
    cfg = _config("TEST.AQE.ENABLED", True, "TEST.AQE.QE_TIME", 2, "TEST.AQE.QE_K", 7, "TEST.AQE.ALPHA", 1.0)
    assert _evaluate(cfg, features)["mAP"] == pytest.approx(expanded["mAP"], abs=1e-4)


def test_re_ranking_of_distance_matrices_is_replaced_by_the_sparse_one():
    distances = np.abs(np.subtract.outer(np.arange(30.0) ** 1.5, np.arange(30.0) ** 1.5))
    blocks = distances[:8, 8:], distances[:8, :8], distances[8:, 8:]
    assert rerank.re_ranking is not rerank.re_ranking.__wrapped__
    np.testing.assert_allclose(
        rerank.re_ranking(*blocks, 5, 2), rerank.re_ranking.__wrapped__(*blocks, 5, 2), atol=1e-5
    )


def test_an_unknown_metric_is_named(features):
    with pytest.raises(ValueError, match="must be cosine, euclidean or jaccard, got 'manhattan'"):
        _evaluate(_config("TEST.METRIC", "manhattan"), features)
