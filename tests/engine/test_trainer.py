"""The trainer of ``train_net.py``: progress, and an earlier run's checkpoints."""

import io
import sys

import pytest
from small_runs import logged_by_fastreid, small_config, trained, weights_of

from mdpr_fastreid import progress
from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.engine.progress import LoaderWithProgress
from mdpr_fastreid.engine.trainer import set_aside_checkpoints
from mdpr_fastreid.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)


def test_lines_tell_the_steps_done_and_left(often):
    with logged_by_fastreid() as messages:
        steps = Progress(10, "training", done=4)
        steps.step("loss 1.0")
        steps.step()
    assert messages == ["training: 5 of 10, 0 s left, loss 1.0", "training: 6 of 10, 0 s left"]


def test_lines_come_now_and_then_only():
    with logged_by_fastreid() as messages:
        steps = Progress(1000, "training")
        for _ in range(1000):
            steps.step()
    assert messages == []


def test_a_terminal_gets_a_bar_and_no_lines(often, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with logged_by_fastreid() as messages:
        steps = Progress(3, "inference")
        for _ in range(3):
            steps.step("loss 2.5")
        steps._bar.refresh()
        shown = sys.stderr.getvalue()
        steps.close()
    assert messages == []
    assert "inference" in shown
    assert "3/3" in shown


def test_a_loader_with_progress_is_the_loader_otherwise(often):
    class Loader(list):
        dataset = "the data set"

    with logged_by_fastreid() as messages:
        loader = LoaderWithProgress(Loader("abc"), "inference on Tiny")
        assert list(loader) == ["a", "b", "c"]
        assert (len(loader), loader.dataset) == (3, "the data set")
    assert [message.split(",")[0] for message in messages] == [f"inference on Tiny: {i} of 3" for i in (1, 2, 3)]


def test_training_and_inference_are_counted(often, tmp_path):
    with logged_by_fastreid() as messages:
        trained(small_config(tmp_path, "TEST.IMS_PER_BATCH", 120), trainer_class=Trainer)
    training = [message for message in messages if message.startswith("training:")]
    assert [message.split(",")[0] for message in training] == [f"training: {i} of 8" for i in range(1, 9)]
    assert all("loss" in message for message in training)
    assert sum(message.startswith("inference on SynthReIDTiny:") for message in messages) == 2


def test_starting_anew_keeps_the_checkpoints_of_the_earlier_run(tmp_path):
    cfg = small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 0)
    trained(cfg, trainer_class=Trainer)
    first = weights_of(tmp_path / "model_final.pth")
    with logged_by_fastreid() as messages:
        # weights to start from may be those that are set aside
        cfg.MODEL.WEIGHTS = str(tmp_path / "model_final.pth")
        trained(cfg, trainer_class=Trainer)
    assert any("earlier-1" in message and "--resume" in message for message in messages)
    kept = weights_of(tmp_path / "earlier-1/model_final.pth")
    assert all((first[name] == kept[name]).all() for name in first)
    assert (tmp_path / "earlier-1/last_checkpoint").exists()
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_resuming_moves_nothing(tmp_path):
    cfg = small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 0)
    trained(cfg, trainer_class=Trainer)
    trained(small_config(tmp_path, "SOLVER.MAX_EPOCH", 2, "TEST.EVAL_PERIOD", 0), resume=True, trainer_class=Trainer)
    assert not (tmp_path / "earlier-1").exists()


def test_earlier_runs_are_numbered(tmp_path):
    assert set_aside_checkpoints(tmp_path) is None
    for number in (1, 2):
        (tmp_path / "model_final.pth").touch()
        assert set_aside_checkpoints(tmp_path) == tmp_path / f"earlier-{number}"
