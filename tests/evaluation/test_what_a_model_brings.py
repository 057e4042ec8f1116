"""What a model brings along to its evaluation: distances, pairings of its outputs, metrics."""

import numpy as np
import pytest
import torch
from support.ranked_features import (
    QUERIES,
    config,
    evaluated,
    features_with_labels,
    labels_of,
    manhattan,
)

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.evaluation import DISTANCE_REGISTRY, Evaluator, rank_metrics, rerank_distances

pytestmark = pytest.mark.filterwarnings("ignore:This overload of addmm_ is deprecated")

_KEYS = ["Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "metric"]


_DICT = {"image": torch.ones(4, 2), "clip": torch.ones(4, 2)}


@pytest.fixture
def features():
    return features_with_labels()


def _evaluate(cfg, features, num_query=QUERIES, **brought):
    return evaluated(Evaluator(cfg, num_query, **brought), features)


def _one_number(query, gallery):
    return torch.tensor(1.0)


@pytest.mark.parametrize("as_array", [False, True])
def test_a_distance_of_ones_own_takes_the_metrics_place(features, as_array):
    query, gallery = features["feats"][:QUERIES], features["feats"][QUERIES:]
    expected = rank_metrics(manhattan(query, gallery).numpy(), *labels_of(features))
    own = (lambda q, g: manhattan(q, g).numpy()) if as_array else manhattan
    results = _evaluate(config("TEST.METRIC", "cosine"), features, distance=own)
    assert list(results) == _KEYS
    assert results["mAP"] == pytest.approx(100 * expected.average_precision.mean())
    assert results["mAP"] != _evaluate(config(), features)["mAP"]


def test_a_distance_of_ones_own_is_re_ranked_as_by_its_three_matrices(features):
    query, gallery = features["feats"][:QUERIES], features["feats"][QUERIES:]
    matrices = manhattan(query, gallery), manhattan(query, query), manhattan(gallery, gallery)
    expected = rank_metrics(rerank_distances(*matrices, 9, 3, 0.4).numpy(), *labels_of(features))
    options = ["TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 9, "TEST.RERANK.K2", 3, "TEST.RERANK.LAMBDA", 0.4]
    results = _evaluate(config(*options), features, distance=manhattan)
    assert results["mAP"] == pytest.approx(100 * expected.average_precision.mean())


def test_a_registered_distance_is_found_by_the_name_in_the_config(features):
    DISTANCE_REGISTRY._do_register("manhattan", manhattan)
    try:
        for reranked in (False, True):
            options = ["TEST.RERANK.ENABLED", reranked]
            by_name = _evaluate(config("TEST.METRIC", "manhattan", *options), features)
            assert by_name == _evaluate(config(*options), features, distance=manhattan)
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
        config(), features | {"feats": outputs}, pairings={"I2V": ("image", "clip")}, distance=manhattan
    )
    mixed = torch.cat((features["feats"][:QUERIES], 2 * features["feats"][QUERIES:]))
    assert results["I2V/mAP"] == _evaluate(config(), features | {"feats": mixed}, distance=manhattan)["mAP"]


@pytest.mark.parametrize(
    ("outputs", "brought", "options", "message"),
    [
        (_DICT, {}, (), "gives image, clip, and TEST.METRIC cosine compares one feature vector"),
        (_DICT, {"distance": manhattan}, ("TEST.AQE.ENABLED", True), "TEST.AQE expands one feature vector"),
        (_DICT, {"pairings": {"I2V": ("image", "clips")}}, (), "compares 'clips', which is none .*: image, clip"),
        (torch.ones(4, 2), {"pairings": {"I2V": ("image", "clip")}}, (), "pairings I2V need a model that gives a dict"),
        ([torch.ones(2)] * 4, {}, (), "features must be a tensor, got list"),
        (torch.ones(3, 2), {}, (), r"features must have a row for each of 4 images, got \[3, 2\]"),
        (_DICT | {"clip": 1.0}, {"distance": manhattan}, (), "'clip' must be a tensor, got float"),
    ],
)
def test_outputs_that_cannot_be_ranked_are_refused_with_the_first_batch(outputs, brought, options, message):
    evaluator = Evaluator(config(*options), 2, **brought)
    with pytest.raises(SettingsError, match=message):
        evaluator.process({"targets": torch.arange(4), "camids": torch.zeros(4)}, outputs)


def test_a_distance_of_another_shape_is_named(features):
    with pytest.raises(SettingsError, match=r"must be \[Q, G\], here \[14, 86\], but _one_number returned \[\]"):
        _evaluate(config(), features, distance=_one_number)


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
        distances = manhattan(query, gallery)
        return distances / distances.max()

    assert _evaluate(config(), features, distance=of_the_largest)["mAP"] > 0
    with pytest.raises(SettingsError, match="of_the_largest gave 1 of two images alone, and 0.* each pair on its own"):
        _evaluate(config("TEST.RERANK.ENABLED", True), features, distance=of_the_largest)
