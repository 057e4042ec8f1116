"""Stock's evaluator, with what it needs to run without a compiler and without CUDA."""

import subprocess

import faiss
import numpy as np
import pytest
import torch
from fastreid.engine import DefaultTrainer
from fastreid.evaluation import ReidEvaluator, rank
from fastreid.utils import compute_dist
from small_runs import small_config
from support.ranked_features import QUERIES, config, evaluated, features_with_labels, labels_of

from mdpr_fastreid.compat import patching, ranking, stock
from mdpr_fastreid.evaluation import Evaluator

pytestmark = pytest.mark.filterwarnings("ignore:This overload of addmm_ is deprecated")

_STOCK_JACCARD = stock("fastreid.utils.compute_dist:compute_jaccard_distance")


@pytest.fixture
def features():
    return features_with_labels()


def test_the_evaluator_never_compiles(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("make was run"))
    ReidEvaluator(config(), 3)


def test_a_gallery_of_fewer_than_ten_images_has_a_rank_10():
    pair = {"feats": torch.eye(4), "pids": torch.tensor([0, 1, 2, 0]), "camids": torch.tensor([0, 1, 1, 1])}
    results = evaluated(ReidEvaluator(config("TEST.METRIC", "euclidean"), 1), pair)
    assert results["Rank-5"] == results["Rank-10"] == 100


def test_stock_ranks_no_gallery_of_fewer_than_ten_images():
    """What the patch is for; if this fails, stock can rank them, and the patch can go."""
    labels = np.zeros(1), np.zeros(3), np.zeros(1), np.ones(3)
    cmc, _, _ = stock("fastreid.evaluation.rank:evaluate_rank")(np.ones((1, 3)), *labels)
    assert len(cmc) < 10


def test_the_single_shot_metric_runs():
    distances = np.array([[0.1, 0.2], [0.3, 0.1]])
    cmc, mean_precision = rank.evaluate_rank(
        distances, np.array([0, 1]), np.array([0, 1]), np.zeros(2), np.ones(2), use_metric_cuhk03=True
    )
    np.testing.assert_array_equal(cmc, [1, 1])
    assert mean_precision == 1


@pytest.mark.parametrize(("search_option", "fp16"), [(0, False), (3, False), (3, True)])
def test_all_pairs_of_the_jaccard_distance_are_stocks(features, search_option, fp16):
    expected = _STOCK_JACCARD(features["feats"], k1=8, k2=3, search_option=3)
    ours = compute_dist.compute_jaccard_distance(features["feats"], 8, 3, search_option, fp16)
    assert ours.dtype == (np.float16 if fp16 else np.float32)
    np.testing.assert_allclose(ours, expected, atol=1e-3 if fp16 else 1e-5)


def test_build_dist_has_the_jaccard_distance_without_cuda(features):
    query, gallery = features["feats"][:QUERIES], features["feats"][QUERIES:]
    found = compute_dist.build_dist(query, gallery, "jaccard", k1=20, k2=6)
    expected = _STOCK_JACCARD(features["feats"], k1=20, k2=6, search_option=3)[:QUERIES, QUERIES:]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        ("TEST.METRIC", "cosine"),
        ("TEST.METRIC", "euclidean"),
        ("TEST.METRIC", "cosine", "TEST.RERANK.ENABLED", True),
        ("TEST.METRIC", "euclidean", "TEST.RERANK.ENABLED", True, "TEST.ROC.ENABLED", True),
        ("TEST.AQE.ENABLED", True, "TEST.ROC.ENABLED", True),
    ],
)
def test_stocks_evaluator_gives_the_numbers_of_ours(features, options):
    features["feats"] /= 4
    cfg = config(*options)
    stocks = evaluated(ReidEvaluator(cfg, QUERIES), features)
    ours = evaluated(Evaluator(cfg, QUERIES), features)
    assert list(stocks) == list(ours)
    assert {k: float(v) for k, v in stocks.items()} == pytest.approx({k: float(v) for k, v in ours.items()}, abs=1e-4)


def test_the_stock_trainer_evaluates_on_a_cpu_with_every_option_of_its_own(tmp_path):
    options = ["TEST.FLIP", "TEST.AQE", "TEST.RERANK", "TEST.ROC"]
    cfg = small_config(tmp_path, *(word for option in options for word in (f"{option}.ENABLED", True)))
    cfg.MODEL.HEADS.NUM_CLASSES = 16
    results = DefaultTrainer.test(cfg, DefaultTrainer.build_model(cfg))
    assert 0 < results["mAP"] <= 100
    assert 0 <= results["TPR@FPR=1e-02"] <= 1


def test_a_built_extension_is_used_as_it_is(monkeypatch):
    by_target = {patch.target: patch for patch in ranking.PATCHES}
    for name in ("reid_evaluation:ReidEvaluator._compile_dependencies", "rank:evaluate_rank"):
        patch = by_target[f"fastreid.evaluation.{name}"]
        assert patch.needed()
        with monkeypatch.context() as built:
            built.setattr(rank, "IS_CYTHON_AVAI", True)
            assert not patch.needed()


def test_a_gpu_and_a_faiss_that_searches_on_it_are_used_as_they_are(monkeypatch):
    (patch,) = (patch for patch in ranking.PATCHES if "jaccard" in patch.target)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    searching = ["StandardGpuResources", "bruteForceKnn", "cast_integer_to_float_ptr", "cast_integer_to_long_ptr"]
    for name in searching:
        monkeypatch.setattr(faiss, name, None, raising=False)
    assert not patch.needed()
    monkeypatch.delattr(faiss, searching[-1])
    assert patch.needed()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert patch.needed()


def test_each_patch_was_written_for_the_source_that_is_installed():
    for patch in ranking.PATCHES:
        assert stock(patch.target) is not patching.resolve(patch.target)


def test_ranking_is_that_of_our_functions(features):
    distances = torch.cdist(features["feats"][:QUERIES], features["feats"][QUERIES:]).numpy()
    cmc, precision, penalty = rank.evaluate_rank(distances, *labels_of(features))
    expected = rank.eval_market1501(distances, *labels_of(features), 50)
    for found, wanted in zip((cmc, precision, penalty), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
