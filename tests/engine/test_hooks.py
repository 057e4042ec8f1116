"""What is written of a run: each value once, those of an evaluation too."""

import json

import pytest
from fastreid.engine.train_loop import TrainerBase
from fastreid.utils.events import EventStorage, JSONWriter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mdpr_fastreid.engine.hooks import EvalHook, MetricsFile, PeriodicWriter, TensorboardFile


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
