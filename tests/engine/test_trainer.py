"""The trainer of ``train_net.py``: its interface, progress, and an earlier run's checkpoints."""

import io
import shutil
import sys
from pathlib import Path

import pytest
from fastreid.engine import DefaultTrainer
from fastreid.engine.hooks import HookBase
from small_runs import logged_by_fastreid, small_config, trained, weights_of

from mdpr_fastreid import progress
from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.engine.checkpoints import set_aside_checkpoints
from mdpr_fastreid.engine.hooks import BuffersOfFirst, SaveBeforeEvaluation
from mdpr_fastreid.engine.progress import LoaderWithProgress
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.progress import Progress

CHECKPOINTS = Path(__file__).parents[1] / "data/checkpoints"


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
        trained(small_config(tmp_path, "TEST.IMS_PER_BATCH", 120))
    training = [message for message in messages if message.startswith("training:")]
    assert [message.split(",")[0] for message in training] == [f"training: {i} of 8" for i in range(1, 9)]
    assert all("loss" in message for message in training)
    assert sum(message.startswith("inference on SynthReIDTiny:") for message in messages) == 2


def test_starting_anew_keeps_the_checkpoints_of_the_earlier_run(tmp_path):
    cfg = small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 0)
    trained(cfg)
    first = weights_of(tmp_path / "model_final.pth")
    with logged_by_fastreid() as messages:
        # weights to start from may be those that are set aside
        cfg.MODEL.WEIGHTS = str(tmp_path / "model_final.pth")
        trained(cfg)
    assert any("earlier-1" in message and "--resume" in message for message in messages)
    kept = weights_of(tmp_path / "earlier-1/model_final.pth")
    assert all((first[name] == kept[name]).all() for name in first)
    assert (tmp_path / "earlier-1/last_checkpoint").exists()
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_resuming_moves_nothing(tmp_path):
    cfg = small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 0)
    trained(cfg)
    trained(small_config(tmp_path, "SOLVER.MAX_EPOCH", 2, "TEST.EVAL_PERIOD", 0), resume=True)
    assert not (tmp_path / "earlier-1").exists()


def test_earlier_runs_are_numbered(tmp_path):
    assert set_aside_checkpoints(tmp_path) is None
    for number in (1, 2):
        (tmp_path / "model_final.pth").touch()
        assert set_aside_checkpoints(tmp_path) == tmp_path / f"earlier-{number}"


def test_it_has_what_users_find_in_a_stock_trainer(tmp_path):
    options = ["TEST.EVAL_PERIOD", 1, "MODEL.FREEZE_LAYERS", ["backbone"], "SOLVER.FREEZE_ITERS", 2]
    ours, stock = (kind(small_config(tmp_path, *options)) for kind in (Trainer, DefaultTrainer))
    assert vars(stock).keys() <= vars(ours).keys()
    for name in ("iters_per_epoch", "start_epoch", "max_epoch", "max_iter", "warmup_iters", "delay_epochs"):
        assert getattr(ours, name) == getattr(stock, name)
    assert ours.scheduler.keys() == stock.scheduler.keys()
    assert [group["lr"] for group in ours.optimizer.param_groups] == [
        group["lr"] for group in stock.optimizer.param_groups
    ]
    assert ours.checkpointer.checkpointables.keys() == stock.checkpointer.checkpointables.keys()
    hooks = [hook for hook in ours._hooks if not isinstance(hook, (BuffersOfFirst, SaveBeforeEvaluation))]
    for hook, of_stock in zip(hooks, stock._hooks, strict=False):
        assert isinstance(hook, type(of_stock))
    for writer, of_stock in zip(hooks[5]._writers, stock._hooks[5]._writers, strict=True):
        assert isinstance(writer, type(of_stock))


class Counting(HookBase):
    def __init__(self):
        self.steps = 0

    def after_step(self):
        self.steps += 1


def test_a_users_subclass_overrides_what_it_would_of_a_stock_trainer(tmp_path):
    built = []

    class Mine(Trainer):
        def __init__(self, cfg):
            super().__init__(cfg)
            self.counting = Counting()
            self.register_hooks([self.counting])

        @classmethod
        def build_model(cls, cfg):
            built.append("model")
            return super().build_model(cfg)

        @classmethod
        def build_train_loader(cls, cfg):
            built.append("loader")
            return super().build_train_loader(cfg)

        @classmethod
        def build_evaluator(cls, cfg, dataset_name, output_dir=None):
            built.append("evaluator")
            return super().build_evaluator(cfg, dataset_name, output_dir)

        def build_hooks(self):
            built.append("hooks")
            return super().build_hooks()

        def build_writers(self):
            built.append("writers")
            return super().build_writers()

    trainer = trained(small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 1), trainer_class=Mine)
    assert built == ["loader", "model", "hooks", "writers", "evaluator"]
    assert trainer.counting.steps == 4


def test_a_pinned_hash_of_no_file_ends_the_run_before_it_begins(tmp_path):
    trainer = Trainer(small_config(tmp_path, "MODEL.WEIGHTS_SHA256", "sha256:12345678"))
    with pytest.raises(UsageError, match=r"MODEL\.WEIGHTS_SHA256 pins a file, but MODEL\.WEIGHTS names none"):
        trainer.resume_or_load(resume=False)


def test_a_checkpoint_of_an_earlier_version_is_resumed(tmp_path):
    """Written by the version of 2026-11-21, after the first of three epochs."""
    shutil.copy(CHECKPOINTS / "2026-11-21.pth", tmp_path / "model_0000.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000.pth")
    options = ["SEED", 7, "SOLVER.MAX_EPOCH", 3, "INPUT.REA.ENABLED", True, "TEST.EVAL_PERIOD", 3]
    trainer = trained(small_config(tmp_path, *options), resume=True)
    assert (trainer.start_iter, trainer.iter) == (4, 12)
    assert trainer.scheduler["warmup_sched"].last_epoch == 2
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(3e-4)
    assert "mAP" in trainer._last_eval_results


def test_pretrained_weights_that_are_named_and_not_read_are_a_warning(tmp_path):
    said = "PRETRAIN_PATH weights.pth is not read, as MODEL.BACKBONE.PRETRAIN is False"
    for path, expected in (("weights.pth", 1), ("", 0)):
        with logged_by_fastreid() as messages:
            Trainer(small_config(tmp_path, "MODEL.BACKBONE.PRETRAIN_PATH", path))
        assert sum(said in message for message in messages) == expected
