"""The evaluator's work shared by processes: equal to one process's, with the outputs where they are."""

import pickle

import pytest
import torch
from support.played_processes import run_as_processes
from support.ranked_features import QUERIES, config, evaluated, features_with_labels, manhattan

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.evaluation import Evaluator, neighbors, ranking, shared_ranking
from mdpr_fastreid.evaluation import features as features_module
from mdpr_fastreid.evaluation.shared_search import help_search, shared_search

# Where the processes begin: with all queries in the first and more in it, with processes of queries alone, one by one
_SPLITS = [(50,), (40, 80), (5, 10, 14, 60), (14,), (1, 2, 3, 99)]


@pytest.fixture
def features():
    """Features whose distances are exact in any order of summation, and of which some are equal."""
    features = features_with_labels()
    features["feats"] = features["feats"].round()
    features["feats"][20:30] = features["feats"][30:40]
    features["feats"][60] = features["feats"][3]
    return features


def _shared(cfg, features, begins, monkeypatch, allow_collecting=False, **brought):
    """What the processes' evaluators return, of which each gets the images up to where the next one begins."""
    bounds = (0, *begins, len(features["pids"]))

    def evaluate(rank):
        evaluator = Evaluator(cfg, QUERIES, **brought)
        if not allow_collecting:
            monkeypatch.setattr(evaluator, "collect", lambda: pytest.fail("all outputs were collected"))
        own = slice(bounds[rank], bounds[rank + 1])
        outputs = features["feats"]
        part = {"pids": features["pids"][own], "camids": features["camids"][own]}
        part["feats"] = {k: v[own] for k, v in outputs.items()} if isinstance(outputs, dict) else outputs[own]
        return evaluated(evaluator, part, batch=7)

    main, *others = run_as_processes(len(bounds) - 1, evaluate, monkeypatch)
    assert not any(others)
    return main


@pytest.mark.parametrize("begins", _SPLITS)
@pytest.mark.parametrize("average_precision", ["step", "both"])
@pytest.mark.parametrize("largest_sorted", [0, ranking.LARGEST_SORTED])
def test_metrics_are_those_of_one_process_and_no_process_collects_the_outputs(
    features, monkeypatch, begins, average_precision, largest_sorted
):
    monkeypatch.setattr(ranking, "LARGEST_SORTED", largest_sorted)
    cfg = config("TEST.METRIC", "euclidean", "TEST.AP", average_precision)
    expected = evaluated(Evaluator(cfg, QUERIES), features)
    monkeypatch.setattr(features_module, "BLOCK_ELEMENTS", 150)  # several blocks
    assert _shared(cfg, features, begins, monkeypatch) == expected


def test_cosine_distances_are_those_of_one_process(monkeypatch):
    features = features_with_labels()
    expected = evaluated(Evaluator(config(), QUERIES), features)
    assert _shared(config(), features, (30, 60), monkeypatch) == pytest.approx(expected)


def test_pairings_are_those_of_one_process(features, monkeypatch):
    cfg = config("TEST.METRIC", "euclidean")
    pairings = {"I2V": ("image", "clip"), "V2V": ("clip", "clip")}
    features["feats"] = {"image": features["feats"].roll(1, dims=0), "clip": features["feats"]}
    expected = evaluated(Evaluator(cfg, QUERIES, pairings=pairings), features)
    assert list(_shared(cfg, features, (5, 40), monkeypatch, pairings=pairings).items()) == list(expected.items())


@pytest.mark.parametrize("options", [("TEST.AQE.ENABLED", True), ("TEST.ROC.ENABLED", True)])
def test_what_needs_all_outputs_is_done_by_the_main_process(features, monkeypatch, options):
    expected = evaluated(Evaluator(config(*options), QUERIES), features)
    assert _shared(config(*options), features, (5, 40), monkeypatch, allow_collecting=True) == expected


def test_a_distance_and_metrics_of_a_model_get_all_outputs(features, monkeypatch):
    brought = {"distance": manhattan, "metrics": lambda outputs: {"images": len(outputs)}}
    expected = evaluated(Evaluator(config(), QUERIES, **brought), features)
    assert expected["images"] == 100
    assert _shared(config(), features, (5, 40), monkeypatch, allow_collecting=True, **brought) == expected


@pytest.mark.parametrize("begins", [(40, 40), (0, 50)])
def test_a_process_without_images_changes_nothing(features, monkeypatch, begins):
    expected = evaluated(Evaluator(config(), QUERIES), features)
    assert _shared(config(), features, begins, monkeypatch, allow_collecting=True) == expected


@pytest.mark.parametrize(
    ("image", "message"), [(3, "query features have NaN"), (70, "gallery features have NaN, .* first in row 56")]
)
def test_a_feature_that_cannot_be_ranked_is_named_as_by_one_process(features, monkeypatch, image, message):
    features["feats"][image] = torch.nan
    with pytest.raises(SettingsError, match=message):
        _shared(config(), features, (5, 40), monkeypatch, allow_collecting=True)


def test_no_positive_is_one_error(features, monkeypatch):
    features["pids"] = torch.arange(100)
    with pytest.raises(SettingsError, match="none of the 14 queries has a positive"):
        _shared(config("TEST.METRIC", "euclidean"), features, (5, 40), monkeypatch)


def test_a_process_sends_its_queries_and_no_more_of_what_they_are_a_part_of(features, monkeypatch):
    sizes, exchange = [], shared_ranking.exchange

    def measured(own):
        if getattr(own, "shape", ())[1:] == features["feats"].shape[1:]:
            sizes.append(len(pickle.dumps(own)))
        return exchange(own)

    monkeypatch.setattr(shared_ranking, "exchange", measured)
    _shared(config("TEST.METRIC", "euclidean"), features, (50,), monkeypatch)
    queries = features["feats"][:QUERIES]
    assert len(sizes) == 2
    assert queries.nbytes < max(sizes) < 2 * queries.nbytes < features["feats"][:50].nbytes


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "jaccard"])
@pytest.mark.parametrize("begins", [(50,), (5, 10, 90)])
def test_re_ranking_searches_together_and_finds_the_same(features, monkeypatch, metric, begins):
    monkeypatch.setattr(neighbors, "_FAISS_BLOCK", 30)
    cfg = config("TEST.METRIC", metric, "TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 9, "TEST.RERANK.K2", 3)
    features["feats"] = features_with_labels()["feats"] / 4
    expected = evaluated(Evaluator(cfg, QUERIES), features)
    searched = []
    search = neighbors.search_block
    monkeypatch.setattr(
        "mdpr_fastreid.evaluation.shared_search.search_block",
        lambda features, k, rows: searched.append(rows.start) or search(features, k, rows),
    )
    assert _shared(cfg, features, begins, monkeypatch, allow_collecting=True) == expected
    assert sorted(searched) == [0, 30, 60]


def test_an_error_of_re_ranking_ends_the_other_processes_search(monkeypatch):
    def work(rank):
        if rank:
            return help_search()
        with pytest.raises(ValueError, match="nothing to blend"), shared_search():
            raise ValueError("nothing to blend")

    assert run_as_processes(3, work, monkeypatch) == [None] * 3
