"""What a comparison measures: the evaluator's numbers, rank lists, speed, attention."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ranked_features import config
from torch import nn

from mdpr_fastreid.compare import captions, evaluate
from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.evaluation import Evaluator, evaluate_model, evaluator_for


class Flat(nn.Module):
    """Features of an image are its values: of its mirror image they are others."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.25))

    def forward(self, batch):
        return batch["images"].flatten(1) * self.scale


class Batches(list):
    """Batches of images ``[B, 1, 4, 4]``, as a test loader has them."""

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        identities = torch.arange(60) % 8
        images = torch.randn(8, 1, 4, 4, generator=generator)[identities]
        images = images + 0.8 * torch.randn(60, 1, 4, 4, generator=generator)
        cameras = torch.randint(0, 3, (60,), generator=generator)
        cameras[:8], cameras[12:20] = 0, 1  # every identity has a query with a match
        self.dataset = range(60)
        for start in range(0, 60, 25):
            part = slice(start, start + 25)
            self.append({"images": images[part], "targets": identities[part], "camids": cameras[part]})


SETTINGS = st.fixed_dictionaries(
    {
        "TEST.METRIC": st.sampled_from(["cosine", "euclidean", "jaccard"]),
        "TEST.AQE.ENABLED": st.booleans(),
        "TEST.AQE.QE_K": st.integers(1, 6),
        "TEST.AQE.QE_TIME": st.integers(0, 2),
        "TEST.AQE.ALPHA": st.sampled_from([0.0, 1.0, 3.0]),
        "TEST.RERANK.ENABLED": st.booleans(),
        "TEST.RERANK.K1": st.integers(2, 12),
        "TEST.RERANK.K2": st.integers(1, 5),
        "TEST.RERANK.LAMBDA": st.sampled_from([0.0, 0.3, 1.0]),
        "TEST.FLIP.ENABLED": st.booleans(),
        "TEST.ROC.ENABLED": st.booleans(),
        "TEST.AP": st.sampled_from(["step", "trapezoid", "both"]),
    }
)


def _config(options):
    cfg = config(*(word for pair in options.items() for word in pair))
    cfg.DATASETS.TESTS = ("Batches",)
    cfg.freeze()
    return cfg


def _measured(cfg, seed):
    return evaluate.measure_accuracy(cfg, Flat(), Flat(), Batches(seed), 12)


@settings(max_examples=40, deadline=None)
@given(SETTINGS, st.integers(0, 2**32 - 1))
def test_a_comparison_has_the_metrics_of_the_evaluation_with_the_same_settings(options, seed):
    cfg = _config(options)
    expected = evaluate_model(cfg, Flat(), Batches(seed), Evaluator(cfg, 12))
    measured = _measured(cfg, seed)
    found = measured.reranked if cfg.TEST.RERANK.ENABLED else measured.plain
    assert found.metrics == expected
    assert found.cmc[0] == found.metrics["Rank-1"]


@settings(max_examples=10, deadline=None)
@given(SETTINGS.filter(lambda one: one["TEST.METRIC"] != "jaccard" and one["TEST.AP"] == "step"), st.integers(0, 99))
def test_a_comparison_has_the_metrics_of_the_trainers_evaluation(options, seed):
    class OnBatches(Trainer):
        @classmethod
        def build_test_loader(cls, cfg, dataset_name):
            return Batches(seed), 12

    cfg = _config(options | {"TEST.FOLDED": False})
    expected = OnBatches.test(cfg, Flat())
    measured = _measured(cfg, seed)
    found = (measured.reranked if cfg.TEST.RERANK.ENABLED else measured.plain).metrics
    assert found == pytest.approx({name: float(expected[name]) for name in found}, abs=1e-3)


def test_what_is_not_re_ranked_and_what_is_are_both_measured_whatever_the_config_says():
    accuracies = [_measured(_config({"TEST.RERANK.ENABLED": enabled}), 0)[:2] for enabled in (False, True)]
    assert accuracies[0] == accuracies[1]
    assert accuracies[0][0] != accuracies[0][1]


class Paired(Flat):
    """Gives two outputs, and is ranked by two pairings of them."""

    pairings = {"V2V": ("clip", "clip"), "I2I": ("image", "image")}  # noqa: RUF012

    def forward(self, batch):
        features = super().forward(batch)
        return {"image": features, "clip": features[:, :7]}


def test_a_model_with_pairings_is_measured_by_its_first():
    cfg, model = _config({}), Paired()
    measured = evaluate.measure_accuracy(cfg, model, model, Batches(0), 12)
    results = evaluate_model(cfg, model, Batches(0), evaluator_for(cfg, 12, model))
    assert measured.plain.metrics["mAP"] == results["V2V/mAP"] != results["I2I/mAP"]
    assert evaluate.feature_length(measured.collected, model) == 7


@pytest.mark.parametrize("ap", ["step", "both"])
def test_every_pairing_has_the_metrics_and_the_precisions_that_it_would_have_alone(ap):
    cfg, model = _config({"TEST.AP": ap}), Paired()
    measured = evaluate.measure_accuracy(cfg, model, model, Batches(0), 12)
    results = evaluate_model(cfg, model, Batches(0), evaluator_for(cfg, 12, model))
    assert list(measured.pairings) == ["V2V", "I2I"]
    for name, found in measured.pairings.items():
        expected = {key.split("/")[1]: value for key, value in results.items() if key.startswith(f"{name}/")}
        assert {key: value for key, value in found.metrics.items() if key != "metric"} == pytest.approx(expected)
        alone = Paired()
        alone.pairings = {name: Paired.pairings[name]}
        lists = evaluate.measure_accuracy(cfg, alone, alone, Batches(0), 12).lists
        np.testing.assert_array_equal(found.average_precision, lists.average_precision)
        assert found.average_precision.mean() * 100 == pytest.approx(found.metrics["mAP"])
    assert measured.plain.metrics == measured.pairings["V2V"].metrics
    assert ("mAP trapezoid" in measured.plain.metrics) == (ap == "both")


def test_a_model_without_pairings_has_none():
    assert _measured(_config({}), 0).pairings == {}


def test_a_models_own_metrics_and_captions_are_those_of_the_pairs_that_are_listed():
    class Speaking(Flat):
        def metrics(self, outputs):
            return {"largest": outputs.max()}

        def compared(self, query, gallery):
            assert 0 < len(query) == len(gallery) <= 100
            return [f"{q.sum():.3f} {g.sum():.3f}" for q, g in zip(query, gallery, strict=True)]

    cfg, model = _config({}), Speaking()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(captions, "_PAIRS_AT_A_TIME", 100)
        patch.setattr(evaluate, "LISTED", 50)  # more than there are: some places of the lists stay empty
        measured = evaluate.measure_accuracy(cfg, model, model, Batches(0), 12)
    assert measured.own_metrics == {"largest": float(measured.collected.outputs.max())}
    assert measured.plain == _measured(cfg, 0).plain, "they are no part of the ranking"
    sums, lists = measured.collected.outputs.sum(dim=1), measured.lists
    assert measured.captions.shape == lists.gallery.shape
    for row, query in enumerate(lists.query):
        expected = [f"{sums[query]:.3f} {sums[image]:.3f}" if image >= 0 else "" for image in lists.gallery[row]]
        assert measured.captions[row].tolist() == expected
    assert _measured(cfg, 0).captions is None and _measured(cfg, 0).own_metrics == {}


@pytest.mark.parametrize(
    ("lines", "message"),
    [("all", "list of 2 texts for 2 pairs, got str"), (["one"], "got list of 1"), ([1, 2], "got list of 2")],
)
def test_captions_that_are_none_are_named(lines, message):
    features = torch.ones(3, 2)
    with pytest.raises(SettingsError, match=message):
        captions.captions_of(lambda q, g: lines, features, features, np.array([0]), np.array([[3, 4]]))


def test_the_length_of_a_feature_is_counted():
    assert evaluate.feature_length(_measured(_config({}), 0).collected, torch.nn.Identity()) == 16


def test_attention_is_kept_of_the_queries_of_a_model_that_has_it():
    class Attentive(torch.nn.Module):
        soft = torch.nn.Identity()

        def attention_maps(self, batch):
            return batch["images"][:, :1], batch["images"][:, :1] / 2

    batches = [{"images": torch.full((4, 3, 2, 2), value)} for value in (0.2, 1.0)]
    maps = evaluate.query_attention(Attentive(), batches, 6)
    assert maps.shape == (6, 2, 2, 2) and maps.dtype == np.uint8
    assert maps[0, 0, 0, 0] == 51 and maps[5, 0, 0, 0] == 255 and maps[5, 1, 0, 0] == 128
    assert evaluate.query_attention(torch.nn.Identity(), batches, 6) is None


def test_speed_is_of_the_images_it_is_given():
    class Slow(torch.nn.Module):
        def forward(self, images):
            time.sleep(0.01)
            return images

    speed = evaluate.images_per_second(Slow(), torch.zeros(5, 1), seconds=0.03)
    assert 0 < speed <= 5 / 0.01
