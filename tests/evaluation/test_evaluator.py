"""The evaluator against stock's, and what it does that stock's does not."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from fastreid.evaluation import rank, roc
from fastreid.utils import compute_dist
from sklearn import metrics
from small_runs import small_config, trained
from support.played_processes import run_as_processes
from support.ranked_features import (
    QUERIES,
    config,
    evaluated,
    features_with_labels,
    labels_of,
    manhattan,
    of_rounded,
    stock_results,
)

from mdpr_fastreid.compat import stock
from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.evaluation import Evaluator, evaluator, rank_by_rules, rank_metrics
from mdpr_fastreid.evaluation import features as features_module
from mdpr_fastreid.evaluation.outputs import rows as rows_of
from mdpr_fastreid.evaluation.ranking import BlockRanker

pytestmark = pytest.mark.filterwarnings("ignore:This overload of addmm_ is deprecated")

_STOCK_JACCARD = stock("fastreid.utils.compute_dist:compute_jaccard_distance")
_KEYS = ["Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "metric"]
_AP = ("step", "trapezoid", "both")
_ROC_KEYS = ["TPR@FPR=1e-04", "TPR@FPR=1e-03", "TPR@FPR=1e-02"]


@pytest.fixture
def features():
    return features_with_labels()


def _evaluate(cfg, features, num_query=QUERIES, **brought):
    return evaluated(Evaluator(cfg, num_query, **brought), features)


_SWITCHES = list(itertools.product((False, True), repeat=3))


@pytest.mark.parametrize(("expansion", "reranked", "roc_asked"), _SWITCHES)
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "jaccard"])
def test_keys_and_numbers_are_stocks_for_every_combination_of_settings(
    features, monkeypatch, metric, expansion, reranked, roc_asked
):
    cfg = config(
        *("TEST.METRIC", metric, "TEST.AQE.ENABLED", expansion, "TEST.AQE.QE_TIME", 2, "TEST.AQE.QE_K", 7),
        *("TEST.RERANK.ENABLED", reranked, "TEST.RERANK.K1", 9, "TEST.RERANK.K2", 3, "TEST.RERANK.LAMBDA", 0.4),
        *("TEST.ROC.ENABLED", roc_asked),
    )
    cfg.freeze()
    # Of large features the jaccard distances, softmax of squared ones, are all but equal: rounding would rank them
    features["feats"] /= 4
    expected = stock_results(monkeypatch, cfg, features)
    # Some jaccard distances of expanded features are equal up to rounding, which differs between versions
    monkeypatch.setattr(evaluator, "rank_by_rules", of_rounded(rank_by_rules))
    blocks = evaluator.distance_blocks
    rounded = lambda *given: ((rows, block.round(decimals=5)) for rows, block in blocks(*given))  # noqa: E731
    monkeypatch.setattr(evaluator, "distance_blocks", rounded)
    results = _evaluate(cfg, features)
    assert list(results) == list(expected) == _KEYS + (_ROC_KEYS if roc_asked else [])
    assert {key: float(value) for key, value in results.items()} == pytest.approx(expected, abs=1e-4)


def test_it_reports_what_stocks_loops_and_scikit_learn_give(features):
    distances = 1 - torch.cosine_similarity(features["feats"][:14, None], features["feats"][None, 14:], dim=2).numpy()
    labels = labels_of(features)
    cmc, precision, penalty = rank.eval_market1501(distances, *labels, 50)
    scores, same = roc.evaluate_roc_py(distances, *labels)
    false_rates, true_rates, _ = metrics.roc_curve(same, scores)

    results = _evaluate(config("TEST.ROC.ENABLED", True), features)

    assert results["Rank-1"] == pytest.approx(cmc[0] * 100)
    assert results["Rank-5"] == pytest.approx(cmc[4] * 100)
    assert results["mAP"] == pytest.approx(np.mean(precision) * 100, abs=1e-4)
    assert results["mINP"] == pytest.approx(np.mean(penalty) * 100, abs=1e-4)
    for key, rate in (("TPR@FPR=1e-04", 1e-4), ("TPR@FPR=1e-02", 1e-2)):
        assert results[key] == pytest.approx(true_rates[np.argmin(np.abs(false_rates - rate))])


def test_a_gallery_of_fewer_than_ten_images_has_a_rank_10():
    pair = {"feats": torch.eye(4), "pids": torch.tensor([0, 1, 2, 0]), "camids": torch.tensor([0, 1, 1, 1])}
    results = _evaluate(config("TEST.METRIC", "euclidean"), pair, num_query=1)
    assert results["Rank-5"] == results["Rank-10"] == 100


def test_a_test_set_that_cannot_be_evaluated_ends_in_one_clear_error(features):
    with pytest.raises(UsageError, match="cannot be evaluated: it has no images"):
        Evaluator(config(), 3).evaluate()
    broken = features | {"feats": features["feats"] * torch.nan}
    for options in ((), ("TEST.RERANK.ENABLED", True), ("TEST.AQE.ENABLED", True)):
        with pytest.raises(UsageError, match="cannot be evaluated: query features have NaN"):
            _evaluate(config(*options), broken)
    features["pids"] = torch.arange(100)
    with pytest.raises(UsageError, match="cannot be evaluated: none of the 14 queries has a positive"):
        _evaluate(config(), features)


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
    """What stock's evaluator computes, with the toolbox's own distances on its CPU path."""
    query, gallery = features["feats"][:num_query], features["feats"][num_query:]
    distances = 0
    if metric != "jaccard":
        distances = getattr(compute_dist, f"compute_{metric}_distance")(query, gallery)
    if metric == "cosine":
        query, gallery = (torch.nn.functional.normalize(part, dim=1) for part in (query, gallery))
    jaccard = _STOCK_JACCARD(torch.cat((query, gallery)), search_option=3, **sizes)
    return jaccard[:num_query, num_query:] * (1 - lambda_value) + distances * lambda_value


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_re_ranking_of_a_trained_model_scores_as_stocks(trained_features, metric):
    features, num_query = trained_features
    distances = _stock_reranked(features, num_query, metric, 0.3)
    cmc, precision, penalty = rank.eval_market1501(distances, *labels_of(features, num_query), 50)

    cfg = config("TEST.RERANK.ENABLED", True, "TEST.RERANK.LAMBDA", 0.3, "TEST.METRIC", metric)
    results = _evaluate(cfg, features, num_query)

    assert results["Rank-1"] / 100 == pytest.approx(cmc[0], abs=1e-4)
    assert results["mAP"] / 100 == pytest.approx(np.mean(precision), abs=1e-4)
    assert results["mINP"] / 100 == pytest.approx(np.mean(penalty), abs=1e-4)
    unranked = _evaluate(config("TEST.METRIC", metric), features, num_query)
    assert results["mAP"] != pytest.approx(unranked["mAP"], abs=1e-3)


def _collected(cfg, features, **brought):
    evaluator = Evaluator(cfg, QUERIES, **brought)
    evaluated(evaluator, features)
    return evaluator, evaluator.collect()


@pytest.mark.parametrize(
    "options",
    [
        ("TEST.METRIC", "jaccard"),
        ("TEST.METRIC", "jaccard", "TEST.RERANK.ENABLED", True),
        ("TEST.METRIC", "cosine", "TEST.RERANK.ENABLED", True),
        ("TEST.METRIC", "euclidean", "TEST.RERANK.ENABLED", True),
    ],
)
def test_the_distances_take_k1_k2_and_lambda_from_the_config(features, options):
    cfg = config(*options, "TEST.RERANK.K1", 7, "TEST.RERANK.K2", 3, "TEST.RERANK.LAMBDA", 0.4)
    cfg.freeze()
    evaluator, collected = _collected(cfg, features)
    metric = cfg.TEST.METRIC
    expected = _stock_reranked(features, QUERIES, metric, 0.0 if metric == "jaccard" else 0.4, k1=7, k2=3)
    np.testing.assert_allclose(evaluator.measure(collected).distances, expected, atol=1e-5)
    assert ("TEST.RERANK.ENABLED" in options) == cfg.TEST.RERANK.ENABLED


def test_distances_come_plain_and_re_ranked_whatever_the_config_asks_for(features):
    found = []
    for enabled in (False, True):
        evaluator, collected = _collected(config("TEST.RERANK.ENABLED", enabled), features)
        found.append([evaluator.measure(collected, reranked=wanted).distances for wanted in (False, True)])
    for first, second in zip(*found, strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(found[0][1], _stock_reranked(features, QUERIES, "cosine", 0.3), atol=1e-5)


def test_the_average_precision_is_the_one_that_the_config_names(features):
    for name in ("step", "trapezoid"):
        evaluator, collected = _collected(config("TEST.AP", name), features)
        measured = evaluator.measure(collected)
        expected = rank_metrics(measured.distances, *labels_of(features), average_precision=name)
        assert measured.metrics["mAP"] == 100 * expected.average_precision.mean()
    assert _evaluate(config("TEST.AP", "trapezoid"), features) != _evaluate(config(), features)


@pytest.mark.parametrize("options", [(), ("TEST.RERANK.ENABLED", True, "TEST.ROC.ENABLED", True)])
def test_both_average_precisions_stand_beside_each_other(features, options):
    step, trapezoid, both = (_evaluate(config("TEST.AP", name, *options), features) for name in _AP)
    assert list(both)[:6] == ["Rank-1", "Rank-5", "Rank-10", "mAP", "mAP trapezoid", "mINP"]
    assert dict(both) == dict(step) | {"mAP trapezoid": trapezoid["mAP"]}
    assert both["mAP"] > both["mAP trapezoid"] and trapezoid.keys() == step.keys()


def test_both_average_precisions_are_there_in_every_pairing(features):
    features["feats"] = {"image": features["feats"], "clip": features["feats"].flip(1)}
    pairings = {"I2V": ("image", "clip"), "V2V": ("clip", "clip")}
    step, trapezoid, both = (_evaluate(config("TEST.AP", name), features, pairings=pairings) for name in _AP)
    assert dict(both) == dict(step) | {f"{name}/mAP trapezoid": trapezoid[f"{name}/mAP"] for name in pairings}
    evaluator, collected = _collected(config("TEST.AP", "both"), features, pairings=pairings)
    expected = rank_metrics(evaluator.measure(collected).distances, *labels_of(features))
    np.testing.assert_array_equal(evaluator.measure(collected).ranking.average_precision, expected.average_precision)


def test_a_new_round_forgets_the_one_before(features):
    evaluator = Evaluator(config(), QUERIES)
    first = evaluated(evaluator, features)
    evaluator.reset()
    assert evaluated(evaluator, features) == first


def test_the_outputs_of_many_processes_are_joined_in_the_order_of_their_ranks(features, monkeypatch):
    def collected(rank):
        evaluator = Evaluator(config(), QUERIES)
        own = slice(40 * rank, 40 * rank + 40)  # the last process has no images
        if rank < 3:
            labels = {"targets": features["pids"][own], "camids": features["camids"][own]}
            evaluator.process(labels, features["feats"][own])
        return evaluator.collect()

    whole, *others = run_as_processes(4, collected, monkeypatch)
    assert others == [None, None, None]
    assert torch.equal(whole.outputs, features["feats"])
    assert whole.identities.tolist() == features["pids"].tolist()
    assert whole.cameras.tolist() == features["camids"].tolist()


@pytest.mark.parametrize("as_dict", [False, True])
def test_what_was_collected_is_evaluated_twice_and_added_to(features, as_dict):
    outputs = {"whole": features["feats"], "half": features["feats"][:, :8]} if as_dict else features["feats"]
    brought = {"distance": lambda q, g: manhattan(q["whole"], g["whole"])} if as_dict else {"distance": manhattan}
    evaluator = Evaluator(config(), QUERIES, **brought)
    of_all = features | {"feats": outputs}
    first = evaluated(evaluator, {name: rows_of(value, slice(60)) for name, value in of_all.items()})
    collected = evaluator.collect()
    kept = collected.outputs["half"].clone() if as_dict else collected.outputs.clone()
    assert evaluator.evaluate() == first
    evaluated(evaluator, {name: rows_of(value, slice(60, None)) for name, value in of_all.items()})
    again = evaluator.collect()
    for name in outputs if as_dict else ():
        assert torch.equal(again.outputs[name], outputs[name])
    assert again.outputs.keys() == outputs.keys() if as_dict else torch.equal(again.outputs, outputs)
    # What was handed out before is as it was
    assert torch.equal(collected.outputs["half"] if as_dict else collected.outputs, kept)


def test_features_are_kept_once_while_they_come_in_and_while_they_are_ranked():
    batch = {"image": torch.rand(50, 4000), "seen": torch.ones(50, 4, dtype=torch.bool)}
    labels = {"targets": torch.arange(50) % 5, "camids": torch.arange(50) // 25}
    evaluator = Evaluator(config(), 100, distance=lambda q, g: torch.zeros(len(q["image"]), len(g["image"])))
    tracemalloc.start()
    try:
        for _ in range(20):
            evaluator.process(labels, batch)
        evaluator.evaluate()
        evaluator.evaluate()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = 20 * (batch["image"].nbytes + batch["seen"].nbytes)
    assert size < peak < 1.25 * size + 2**22


@pytest.mark.parametrize("as_dict", [False, True])
def test_an_output_that_changes_its_shape_is_named(as_dict):
    def process(evaluator, width):
        features = torch.ones(2, width)
        outputs = {"image": features} if as_dict else features
        evaluator.process({"targets": torch.arange(2), "camids": torch.zeros(2)}, outputs)

    evaluator = Evaluator(config(), 2, distance=manhattan)
    process(evaluator, 4)
    with pytest.raises(SettingsError, match=r"(image|features) must be .* got float32 \[4\], then float32 \[3\]"):
        process(evaluator, 3)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("average_precision", ["step", "both"])
def test_metrics_alone_equal_those_of_all_distances_and_never_hold_them(
    features, monkeypatch, metric, average_precision
):
    # Blocks of two queries, and features of which some are equal: ties
    monkeypatch.setattr(features_module, "BLOCK_ELEMENTS", 2 * len(features["feats"]))
    features["feats"][20:30] = features["feats"][30:40]
    measuring = Evaluator(config("TEST.METRIC", metric, "TEST.AP", average_precision), QUERIES)
    asked = evaluated(measuring, features)
    expected = measuring.measure(measuring.collect())
    assert dict(asked) == dict(expected.metrics)
    seen = []
    monkeypatch.setattr(evaluator, "rank_by_rules", lambda *args: pytest.fail("all distances were computed"))
    monkeypatch.setattr(BlockRanker, "add", lambda self, rows, block: seen.append((rows, block.shape)))
    monkeypatch.setattr(BlockRanker, "rankings", lambda self: {"step": expected.ranking})
    measuring.evaluate()
    assert len(seen) > 3 and {shape[0] for _, shape in seen} <= {1, 2}
    assert [query for rows, _ in seen for query in range(rows.start, rows.stop)] == list(range(QUERIES))
