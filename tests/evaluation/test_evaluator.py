"""The evaluator against stock's, and what it does that stock's does not."""

import itertools
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from fastreid.evaluation import rank, roc
from fastreid.utils import comm, compute_dist
from sklearn import metrics
from small_runs import small_config, trained
from support.ranked_features import (
    QUERIES,
    config,
    evaluated,
    features_with_labels,
    labels_of,
    of_rounded,
    stock_results,
)

from mdpr_fastreid.compat import stock
from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.evaluation import DISTANCE_REGISTRY, Evaluator, evaluator, rank_metrics, rerank_distances
from mdpr_fastreid.evaluation.outputs import rows as rows_of

pytestmark = pytest.mark.filterwarnings("ignore:This overload of addmm_ is deprecated")

_STOCK_JACCARD = stock("fastreid.utils.compute_dist:compute_jaccard_distance")
_KEYS = ["Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "metric"]
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
    monkeypatch.setattr(evaluator, "rank_metrics", of_rounded(rank_metrics))
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


def test_a_new_round_forgets_the_one_before(features):
    evaluator = Evaluator(config(), QUERIES)
    first = evaluated(evaluator, features)
    evaluator.reset()
    assert evaluated(evaluator, features) == first


def _manhattan(query, gallery):
    return (query[:, None] - gallery[None]).abs().sum(dim=2)


@pytest.mark.parametrize("as_array", [False, True])
def test_a_distance_of_ones_own_takes_the_metrics_place(features, as_array):
    query, gallery = features["feats"][:QUERIES], features["feats"][QUERIES:]
    expected = rank_metrics(_manhattan(query, gallery).numpy(), *labels_of(features))
    own = (lambda q, g: _manhattan(q, g).numpy()) if as_array else _manhattan
    results = _evaluate(config("TEST.METRIC", "cosine"), features, distance=own)
    assert list(results) == _KEYS
    assert results["mAP"] == pytest.approx(100 * expected.average_precision.mean())
    assert results["mAP"] != _evaluate(config(), features)["mAP"]


def test_a_distance_of_ones_own_is_re_ranked_as_by_its_three_matrices(features):
    query, gallery = features["feats"][:QUERIES], features["feats"][QUERIES:]
    matrices = _manhattan(query, gallery), _manhattan(query, query), _manhattan(gallery, gallery)
    expected = rank_metrics(rerank_distances(*matrices, 9, 3, 0.4).numpy(), *labels_of(features))
    options = ["TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 9, "TEST.RERANK.K2", 3, "TEST.RERANK.LAMBDA", 0.4]
    results = _evaluate(config(*options), features, distance=_manhattan)
    assert results["mAP"] == pytest.approx(100 * expected.average_precision.mean())


def test_a_registered_distance_is_found_by_the_name_in_the_config(features):
    DISTANCE_REGISTRY._do_register("manhattan", _manhattan)
    try:
        for reranked in (False, True):
            options = ["TEST.RERANK.ENABLED", reranked]
            by_name = _evaluate(config("TEST.METRIC", "manhattan", *options), features)
            assert by_name == _evaluate(config(*options), features, distance=_manhattan)
    finally:
        del DISTANCE_REGISTRY._obj_map["manhattan"]


@pytest.mark.parametrize("reranked", [False, True])
def test_a_distance_gets_dicts_of_a_model_that_gives_dicts(features, reranked):
    parts = {"head": features["feats"][:, :8], "feet": features["feats"][:, 8:], "seen": torch.arange(100) % 2 == 0}

    def nearest_part(query, gallery):
        assert query["head"].dtype == torch.float32 and query["seen"].dtype == torch.bool
        return torch.minimum(*(torch.cdist(query[name], gallery[name]) for name in ("head", "feet")))

    cfg = config("TEST.RERANK.ENABLED", reranked)
    results = _evaluate(cfg, features | {"feats": parts}, distance=nearest_part)
    expected = _evaluate(
        cfg,
        features,
        distance=lambda q, g: torch.minimum(torch.cdist(q[:, :8], g[:, :8]), torch.cdist(q[:, 8:], g[:, 8:])),
    )
    assert results == expected


@pytest.mark.parametrize(
    "options", [(), ("TEST.RERANK.ENABLED", True), ("TEST.AQE.ENABLED", True, "TEST.ROC.ENABLED", True)]
)
def test_several_pairings_of_one_pass_are_each_ranked_as_if_they_were_alone(features, options):
    image, clip = features["feats"], features["feats"].flip(1) + 0.3 * features["feats"]
    pairings = {"V2V": ("clip", "clip"), "I2V": ("image", "clip")}
    results = _evaluate(config(*options), features | {"feats": {"image": image, "clip": clip}}, pairings=pairings)
    mixed = torch.cat((image[:QUERIES], clip[QUERIES:]))
    alone = {
        "V2V": _evaluate(config(*options), features | {"feats": clip}),
        "I2V": _evaluate(config(*options), features | {"feats": mixed}),
    }
    expected = {f"{name}/{key}": value for name in alone for key, value in alone[name].items() if key != "metric"}
    assert results == expected | {"metric": alone["V2V"]["metric"]}
    assert list(results)[:4] == ["V2V/Rank-1", "V2V/Rank-5", "V2V/Rank-10", "V2V/mAP"]
    assert results["V2V/mAP"] != results["I2V/mAP"]


def test_pairings_are_compared_by_a_distance_of_ones_own(features):
    outputs = {"image": features["feats"], "clip": 2 * features["feats"]}
    results = _evaluate(
        config(), features | {"feats": outputs}, pairings={"I2V": ("image", "clip")}, distance=_manhattan
    )
    mixed = torch.cat((features["feats"][:QUERIES], 2 * features["feats"][QUERIES:]))
    assert results["I2V/mAP"] == _evaluate(config(), features | {"feats": mixed}, distance=_manhattan)["mAP"]


def test_the_outputs_of_many_processes_are_joined_in_the_order_of_their_ranks(features, monkeypatch):
    whole = _evaluate(config(), features)
    ranks = []
    for rows in torch.arange(100).split(40):
        evaluator = Evaluator(config(), QUERIES)
        inputs = {"targets": features["pids"][rows], "camids": features["camids"][rows]}
        evaluator.process(inputs, features["feats"][rows])
        ranks.append(evaluator)

    def gather(parts, dst):
        assert dst == 0
        (own,) = parts
        others = [(one._outputs.outputs(), *one._joined_labels()) for one in ranks[1:]]
        gathered = [[own], *([one] for one in others), []]  # the last process had no images
        return pickle.loads(pickle.dumps(gathered)) if comm.is_main_process() else []

    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    monkeypatch.setattr(comm, "gather", gather)
    assert ranks[0].evaluate() == whole
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert ranks[1].evaluate() == {}


_DICT = {"image": torch.ones(4, 2), "clip": torch.ones(4, 2)}


@pytest.mark.parametrize(
    ("outputs", "brought", "options", "message"),
    [
        (_DICT, {}, (), "gives image, clip, and TEST.METRIC cosine compares one feature vector"),
        (_DICT, {"distance": _manhattan}, ("TEST.AQE.ENABLED", True), "TEST.AQE expands one feature vector"),
        (_DICT, {"pairings": {"I2V": ("image", "clips")}}, (), "compares 'clips', which is none .*: image, clip"),
        (torch.ones(4, 2), {"pairings": {"I2V": ("image", "clip")}}, (), "pairings I2V need a model that gives a dict"),
        ([torch.ones(2)] * 4, {}, (), "features must be a tensor, got list"),
        (torch.ones(3, 2), {}, (), r"features must have a row for each of 4 images, got \[3, 2\]"),
        (_DICT | {"clip": 1.0}, {"distance": _manhattan}, (), "'clip' must be a tensor, got float"),
    ],
)
def test_outputs_that_cannot_be_ranked_are_refused_with_the_first_batch(outputs, brought, options, message):
    evaluator = Evaluator(config(*options), 2, **brought)
    with pytest.raises(SettingsError, match=message):
        evaluator.process({"targets": torch.arange(4), "camids": torch.zeros(4)}, outputs)


def test_a_distance_of_another_shape_is_named(features):
    with pytest.raises(SettingsError, match=r"must be \[Q, G\], here \[14, 86\], but _one_number returned \[\]"):
        _evaluate(config(), features, distance=_one_number)


def _one_number(query, gallery):
    return torch.tensor(1.0)


@pytest.mark.parametrize("as_dict", [False, True])
def test_what_was_collected_is_evaluated_twice_and_added_to(features, as_dict):
    outputs = {"whole": features["feats"], "half": features["feats"][:, :8]} if as_dict else features["feats"]
    brought = {"distance": lambda q, g: _manhattan(q["whole"], g["whole"])} if as_dict else {"distance": _manhattan}
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

    evaluator = Evaluator(config(), 2, distance=_manhattan)
    process(evaluator, 4)
    with pytest.raises(SettingsError, match=r"(image|features) must be .* got float32 \[4\], then float32 \[3\]"):
        process(evaluator, 3)


class _Measuring(torch.nn.Module):
    """Brings metrics of its own."""

    def __init__(self, found):
        super().__init__()
        self.found, self.seen = found, []

    def metrics(self, outputs):
        self.seen.append(outputs)
        return self.found


def test_a_models_own_metrics_are_reported_beside_the_others_and_change_none(features):
    model = _Measuring({"mIoU": torch.tensor(0.25), "F1": np.float64(3), "count": 7})
    evaluator = Evaluator(config(), QUERIES)
    evaluator.adopt(model)
    results = evaluated(evaluator, features)
    assert results == _evaluate(config(), features) | {"mIoU": 0.25, "F1": 3.0, "count": 7.0}
    assert list(results) == [*_KEYS, "mIoU", "F1", "count"] and type(results["mIoU"]) is float
    (outputs,) = model.seen
    assert torch.equal(outputs, features["feats"])


def test_own_metrics_are_computed_once_for_several_pairings(features):
    model = _Measuring({"mIoU": 50.0})
    model.pairings = {"I2V": ("image", "clip"), "V2V": ("clip", "clip")}
    evaluator = Evaluator(config(), QUERIES)
    evaluator.adopt(model)
    results = evaluated(evaluator, features | {"feats": {"image": features["feats"], "clip": features["feats"] + 1}})
    assert results["mIoU"] == 50 and len(model.seen) == 1
    assert model.seen[0].keys() == {"image", "clip"} and len(model.seen[0]["clip"]) == 100


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([0.5], "metrics must return numbers by name, got list"),
        ({"mIoU": "high"}, "numbers by name, got 'mIoU': 'high'"),
        ({"mIoU": torch.ones(2)}, "numbers by name, got 'mIoU': tensor"),
        ({3: 0.5}, "numbers by name, got 3: 0.5"),
        ({"mAP": 0.5}, "metrics return 'mAP', which is the name of another number: rename it"),
        ({"loss_parsing": 0.5}, "metrics return 'loss_parsing', which is the name of another number"),
        ({"dataset": 0.5}, "metrics return 'dataset'"),
    ],
)
def test_metrics_that_are_none_are_named(features, found, message):
    with pytest.raises(SettingsError, match=message):
        _evaluate(config(), features, metrics=lambda outputs: found)


def test_metrics_that_cannot_be_called_are_refused_at_once():
    model = torch.nn.Identity()
    model.metrics = {"mIoU": 1.0}
    with pytest.raises(SettingsError, match="metrics must be a function"):
        Evaluator(config(), QUERIES).adopt(model)


def test_a_distance_that_looks_at_other_images_is_not_re_ranked(features):
    def of_the_largest(query, gallery):
        distances = _manhattan(query, gallery)
        return distances / distances.max()

    assert _evaluate(config(), features, distance=of_the_largest)["mAP"] > 0
    with pytest.raises(SettingsError, match="of_the_largest gave 1 of two images alone, and 0.* each pair on its own"):
        _evaluate(config("TEST.RERANK.ENABLED", True), features, distance=of_the_largest)
