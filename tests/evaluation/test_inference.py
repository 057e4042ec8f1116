"""The inference loop: FastReID's own, with flip testing that leaves the batch alone."""

import logging

import pytest
import torch
from fastreid.evaluation.evaluator import DatasetEvaluator, inference_on_dataset
from support.ranked_features import QUERIES, config, features_with_labels
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mdpr_fastreid.evaluation import Evaluator, collect_outputs, evaluate_model, evaluator_for
from mdpr_fastreid.evaluation.inference import FlipAverage


class Columns(nn.Module):
    """Features of an image are the columns of its first channel's first row: mirrored, they come in reverse."""

    def __init__(self, as_dict=False):
        super().__init__()
        self.as_dict = as_dict
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, batch):
        columns = batch["images"][:, 0, 0] * self.weight
        if not self.as_dict:
            return columns
        return {"columns": columns, "doubled": 2 * columns, "count": torch.arange(len(columns))}


class Batches(list):
    """Batches of images ``[B, 3, 2, 16]`` in the order of the data set, as a loader has them."""

    def __init__(self, size=32):
        features = features_with_labels()
        images = features["feats"][:, None, None].expand(-1, 3, 2, -1).contiguous()
        self.dataset = range(len(images))
        for rows in self.dataset[::size]:
            part = slice(rows, rows + size)
            self.append({"images": images[part], "targets": features["pids"][part], "camids": features["camids"][part]})


class Kept(DatasetEvaluator):
    """The outputs as they came."""

    def reset(self):
        self.outputs = []

    def process(self, inputs, outputs):
        self.outputs.append(outputs)

    def evaluate(self):
        return self.outputs


@pytest.mark.parametrize("flip", [False, True])
def test_the_loop_gives_what_stocks_loop_gives_and_leaves_the_batches_as_they_were(flip):
    model, cfg = Columns(), config("TEST.FLIP.ENABLED", flip)
    batches = Batches()
    before = [batch["images"].clone() for batch in batches]
    outputs = evaluate_model(cfg, model, batches, Kept())
    assert all(torch.equal(batch["images"], images) for batch, images in zip(batches, before, strict=True))
    expected = inference_on_dataset(model, Batches(), Kept(), flip_test=flip)
    assert all(torch.equal(one, other) for one, other in zip(outputs, expected, strict=True))
    assert model.training


def test_flip_testing_averages_every_output_of_a_dict_but_those_that_are_integers():
    (outputs, *_) = evaluate_model(config("TEST.FLIP.ENABLED", True), Columns(as_dict=True), Batches(), Kept())
    images = Batches()[0]["images"][:, 0, 0]
    torch.testing.assert_close(outputs["columns"], (images + images.flip(1)) / 2)
    torch.testing.assert_close(outputs["doubled"], images + images.flip(1))
    torch.testing.assert_close(outputs["count"], torch.arange(32))


def test_what_has_the_images_size_is_mirrored_with_them_and_nothing_else():
    seen = []

    class Watching(nn.Module):
        def forward(self, batch):
            seen.append(batch)
            return batch["images"].flatten(1)

    batch = {
        "images": torch.rand(2, 3, 4, 5),
        "masks": torch.rand(2, 4, 5),
        "clip": torch.rand(2, 6, 3, 4, 5),
        "points": torch.rand(2, 4, 2),
        "table": torch.rand(4, 5),
        "camids": torch.zeros(2),
        "paths": ["a", "b"],
    }
    FlipAverage(Watching())(batch)
    first, second = seen
    assert first is batch
    for name in ("images", "masks", "clip"):
        assert torch.equal(second[name], batch[name].flip(-1))
    for name in ("points", "table", "camids", "paths"):
        assert second[name] is batch[name]


def test_a_model_in_training_mode_is_evaluated_in_evaluation_mode_and_put_back():
    modes = []

    class Watching(Columns):
        def forward(self, batch):
            modes.append(self.training)
            return super().forward(batch)

    for training in (True, False):
        model = Watching().train(training)
        evaluate_model(config("TEST.FLIP.ENABLED", True), model, Batches(), Kept())
        assert model.training is training
    assert not any(modes)


def test_the_log_lines_of_stocks_loop_stay(caplog):
    logger = logging.getLogger("fastreid")
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, "fastreid"):
            evaluate_model(config(), Columns(), Batches(), Kept())
    finally:
        logger.removeHandler(caplog.handler)
    assert "Start inference on 100 images" in caplog.text
    assert "Total inference time: " in caplog.text


def test_collecting_ranks_nothing_and_gives_what_evaluation_would_rank(monkeypatch):
    cfg, model = config("TEST.FLIP.ENABLED", True), Columns()
    expected = evaluate_model(cfg, model, Batches(), Evaluator(cfg, QUERIES))
    evaluator = Evaluator(cfg, QUERIES)
    with monkeypatch.context() as patched:
        patched.setattr(evaluator, "measure", lambda *_, **__: pytest.fail("it ranked"))
        collected = collect_outputs(cfg, model, Batches(), evaluator)
    assert evaluator.measure(collected).metrics == expected


class Bringing(Columns):
    """A model with a distance and pairings of its own."""

    def __init__(self):
        super().__init__(as_dict=True)
        self.pairings = {"there": ("columns", "doubled"), "back": ("doubled", "columns")}

    def distance(self, query, gallery):
        return torch.cdist(query * self.weight, gallery, p=1)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_model_brings_its_distance_and_its_pairings_also_inside_many_processes(wrapped, tmp_path):
    model, cfg = Bringing(), config()
    expected = evaluate_model(
        cfg, model, Batches(), Evaluator(cfg, QUERIES, distance=model.distance, pairings=model.pairings)
    )
    assert "there/mAP" in expected and "back/mAP" in expected
    if wrapped:
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        network = DistributedDataParallel(model) if wrapped else model
        assert evaluate_model(cfg, network, Batches(), evaluator_for(cfg, QUERIES, network)) == expected
    finally:
        if wrapped:
            torch.distributed.destroy_process_group()


def test_a_model_that_brings_nothing_is_compared_by_the_metric():
    cfg, model = config(), Columns()
    found = evaluate_model(cfg, model, Batches(), evaluator_for(cfg, QUERIES, model))
    assert found == evaluate_model(cfg, model, Batches(), Evaluator(cfg, QUERIES))
