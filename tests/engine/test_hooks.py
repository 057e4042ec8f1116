"""What is written of a run, each value once, those of an evaluation too; and which layers are frozen."""

import json

import pytest
from fastreid.engine import hooks as stock
from fastreid.engine.train_loop import TrainerBase
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage, JSONWriter
from small_runs import small_config
from support.settings import small_config as mdpr_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from mdpr_fastreid.engine.hooks import EvalHook, LayerFreeze, MetricsFile, PeriodicWriter, TensorboardFile
from mdpr_fastreid.engine.optimizers import build_optimizer


class Run(TrainerBase):
    """A trainer whose loss is its iteration."""

    def run_step(self):
        self.storage.put_scalar("loss", float(self.iter))


def train(writers, *, epochs, every, period=2):
    """Train epochs of three iterations; results are a count of evaluations, asked for every ``every`` epochs."""
    counts = iter(range(100))
    run = Run()
    run.finished, run.max_epoch, run.max_iter = True, epochs, 3 * epochs
    run.register_hooks([EvalHook(every, lambda: {"mAP": next(counts)}), PeriodicWriter(writers, period)])
    run.train(0, epochs, 3)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("every", [1, 2])
def test_the_results_of_every_evaluation_are_in_the_file_once(tmp_path, every):
    train([MetricsFile(str(tmp_path / "metrics.json"))], epochs=5, every=every)
    written = lines(tmp_path / "metrics.json")
    found = [line["mAP"] for line in written if "mAP" in line]
    assert found == list(range(5 if every == 1 else 3))
    losses = [line["iteration"] for line in written if "loss" in line]
    assert losses == sorted(set(losses))
    assert losses[-1] == 14


def test_without_evaluations_the_file_is_the_one_that_fastreid_writes(tmp_path):
    train([MetricsFile(str(tmp_path / "ours.json")), JSONWriter(str(tmp_path / "stock.json"))], epochs=4, every=-1)
    assert (tmp_path / "ours.json").read_text() == (tmp_path / "stock.json").read_text()


def test_tensorboard_has_them_too(tmp_path):
    train([TensorboardFile(str(tmp_path))], epochs=4, every=1)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("mAP")] == [(2, 0), (5, 1), (8, 2), (11, 3)]


def test_a_value_that_did_not_change_is_not_written_again(tmp_path):
    writer = MetricsFile(str(tmp_path / "metrics.json"))
    with EventStorage(7) as storage:
        storage.put_scalar("loss", 1.0)
        writer.write()
        writer.write()
        storage.put_scalar("mAP", 2.0)
        writer.write()
    writer.close()
    assert lines(tmp_path / "metrics.json") == [{"iteration": 7, "loss": 1.0}, {"iteration": 7, "mAP": 2.0}]


class Frozen(TrainerBase):
    """A trainer that notes in each iteration which modules are in evaluation mode, and then evaluates."""

    def __init__(self, model, kind, patterns, iterations=2):
        super().__init__()
        self.model, self.evaluated = model.train(), []
        self.register_hooks([kind(model, patterns, iterations)])

    def run_step(self):
        self.evaluated.append({name for name, module in self.model.named_modules() if not module.training})
        self.model.train()


def evaluated(model, kind, *patterns):
    run = Frozen(model, kind, patterns)
    run.train(0, 1, 3)
    return run.evaluated


@pytest.mark.parametrize("pattern", [r"backbone\.trunk", r"backbone\.trunk\..*(weight|bias)$"])
def test_batch_norms_are_in_evaluation_mode_where_the_optimizer_freezes_them(pattern):
    cfg = mdpr_config("MODEL.FREEZE_LAYERS", [pattern], "SOLVER.FREEZE_ITERS", 2)
    model = build_model(cfg)
    _, groups = build_optimizer(cfg, model, contiguous=False)
    frozen = {group["params"][0] for group in groups if group["freeze_status"] == "freeze"}
    norms = {name for name, module in model.named_modules() if hasattr(module, "running_mean")}
    expected = {name for name in norms if model.get_submodule(name).weight in frozen}
    assert 0 < len(expected) < len(norms)
    found = evaluated(model, LayerFreeze, pattern)
    assert [found_now & norms for found_now in found] == [expected, expected, set()]
    assert found[2] == set() and not any(name.startswith("heads") for name in found[0])


def test_children_named_exactly_are_in_the_mode_of_fastreids_hook(tmp_path):
    model = build_model(small_config(tmp_path, "MODEL.HEADS.NUM_CLASSES", 4))
    model.backbone_norm = nn.BatchNorm2d(16)  # as MGN has b1 and b1_head
    first, _, last = evaluated(model, stock.LayerFreeze, "backbone")
    assert {name.split(".")[0] for name in first} == {"backbone"} and last == set()
    assert evaluated(model, LayerFreeze, "backbone") == [first, first, last]


def test_a_head_that_a_pattern_freezes_still_gives_losses(tmp_path):
    model = build_model(small_config(tmp_path, "MODEL.HEADS.NUM_CLASSES", 4))
    assert evaluated(model, LayerFreeze, "head")[0] >= {"heads.bottleneck.0"}
    assert "heads" not in evaluated(model, LayerFreeze, "head")[0]
