"""Checkpoints are whole or not there, and what a run knew is known to the one that resumes it."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_runs import logged_by_fastreid, small_config, trained, weights_of
from support.full_disk import fill_disk_at
from torch import nn

from mdpr_fastreid import io
from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.engine.checkpoints import Checkpointer, PeriodicCheckpointer
from mdpr_fastreid.errors import UsageError


class Killed(BaseException):
    pass


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("killed_in", ["save", "replace"])
def test_a_kill_while_saving_leaves_the_last_complete_checkpoint(tmp_path, monkeypatch, killed_in):
    model = nn.Linear(2, 2)
    checkpointer = Checkpointer(model, str(tmp_path))
    checkpointer.save("model_0000", epoch=0)
    weight = model.weight.detach().clone()
    nn.init.zeros_(model.weight)

    def save_half(contents, file):
        file.write(b"PK\x03\x04 half of it")
        raise Killed

    def do_not_replace(source, target):
        raise Killed

    target = (torch, "save", save_half) if killed_in == "save" else (io.os, "replace", do_not_replace)
    with monkeypatch.context() as patch:
        patch.setattr(*target)
        with pytest.raises(Killed):
            checkpointer.save("model_0001", epoch=1)

    assert "model_0001.pth" not in names(tmp_path)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000.pth")
    assert [path for path in checkpointer.get_all_checkpoint_files() if "0001" in path] == []
    assert Checkpointer(model, str(tmp_path)).resume_or_load("", resume=True)["epoch"] == 0
    assert torch.equal(model.weight, weight)


def test_a_full_disk_leaves_the_last_checkpoint_and_names_it(tmp_path):
    checkpointer = Checkpointer(nn.Linear(2, 2), str(tmp_path))
    checkpointer.save("model_0000", epoch=0)
    fill_disk_at(tmp_path / "model_0001.pth")
    with pytest.raises(UsageError, match=r"model_0001\.pth cannot be written: No space left .*from .*model_0000\.pth$"):
        checkpointer.save("model_0001", epoch=1)
    assert names(tmp_path) == ["last_checkpoint", "model_0000.pth", "model_0000.pth.sha256"]
    assert checkpointer.resume_or_load("", resume=True)["epoch"] == 0


def test_a_kill_before_the_tag_resumes_from_the_checkpoint_before(tmp_path, monkeypatch):
    checkpointer = Checkpointer(nn.Linear(2, 2), str(tmp_path))
    checkpointer.save("model_0000", epoch=0)

    def die(self, name):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "tag_last_checkpoint", die)
        with pytest.raises(Killed):
            checkpointer.save("model_0001", epoch=1)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000.pth"


def test_nothing_is_left_beside_the_files(tmp_path):
    Checkpointer(nn.Linear(2, 2), str(tmp_path / "new")).save("model_final", metric=np.float64(3.5))
    assert names(tmp_path / "new") == ["last_checkpoint", "model_final.pth", "model_final.pth.sha256"]
    assert torch.load(tmp_path / "new/model_final.pth", weights_only=True)["metric"] == 3.5


def test_a_process_that_does_not_save_writes_nothing(tmp_path):
    Checkpointer(nn.Linear(2, 2), str(tmp_path), save_to_disk=False).save("model_final")
    assert names(tmp_path) == []


def saved_names(period, max_epoch, metrics, best=-1):
    saved = []
    record = SimpleNamespace(save=lambda name, **state: saved.append((name, state)))
    saver = PeriodicCheckpointer(record, period, max_epoch)
    saver.best_metric = best
    for epoch, metric in enumerate(metrics):
        saver.step(epoch, metric=metric)
    return saved


def test_the_best_the_periodic_and_the_final_model_are_saved_as_stock_names_them():
    saved = saved_names(2, 5, [10, 30, 20, 20, 40])
    assert [name for name, _ in saved] == ["model_best", "model_0001", "model_0003", "model_best", "model_final"]
    assert [state["best_metric"] for _, state in saved] == [30, 30, 30, 40, 40]
    assert [state["epoch"] for _, state in saved] == [1, 1, 3, 4, 4]


def test_without_a_period_only_the_end_is_saved():
    assert [name for name, _ in saved_names(0, 3, [1, 2, 3])] == ["model_best", "model_final"]


def test_a_resumed_run_does_not_replace_the_best_model_by_a_worse_one(tmp_path):
    cfg = small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 1)
    trained(cfg)
    path = tmp_path / "model_final.pth"
    state = torch.load(path, weights_only=True)
    assert state["best_metric"] == state["metric"] > 0
    state["best_metric"] = 99.0
    torch.save(state, path)
    best = weights_of(tmp_path / "model_best.pth")

    trainer = trained(small_config(tmp_path, "SOLVER.MAX_EPOCH", 2, "TEST.EVAL_PERIOD", 1), resume=True)
    saver = next(hook for hook in trainer._hooks if isinstance(hook, PeriodicCheckpointer))
    assert saver.best_metric == 99.0
    kept = weights_of(tmp_path / "model_best.pth")
    assert all(torch.equal(best[name], kept[name]) for name in best)


def test_resuming_removes_what_a_kill_left_half_written(tmp_path):
    cfg = small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 0)
    trained(cfg)
    (tmp_path / "model_0007.pth.tmp").write_bytes(b"half")
    Trainer(cfg).resume_or_load(resume=True)
    assert not (tmp_path / "model_0007.pth.tmp").exists()


def test_starting_anew_forgets_the_best_metric(tmp_path):
    cfg = small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 1)
    trained(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    saver = next(hook for hook in trainer._hooks if isinstance(hook, PeriodicCheckpointer))
    assert saver.best_metric == -1


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("run-by-a-pickle",))


def test_a_state_of_numpy_arrays_is_loaded_into_a_model(tmp_path):
    model = nn.Linear(3, 2)
    torch.save({"model": {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2, np.float32)}}, tmp_path / "a.pth")
    Checkpointer(model).load(str(tmp_path / "a.pth"))
    assert model.weight.eq(1).all()


def test_a_file_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Harmful()}, "harmful.pth")
    with pytest.raises(UsageError, match=r"harmful\.pth: holds more than weights"):
        Checkpointer(nn.Linear(1, 1)).load("harmful.pth")
    assert not os.path.exists("run-by-a-pickle")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_truncated_checkpoint_is_named(tmp_path, share):
    path = tmp_path / "model_final.pth"
    torch.save({"model": {"weight": torch.rand(100, 100)}}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UsageError, match=r"model_final\.pth: is truncated"):
        Checkpointer(nn.Linear(1, 1)).load(str(path))


def test_without_a_checkpoint_nothing_is_claimed_of_where_the_weights_are_from(tmp_path):
    with logged_by_fastreid() as messages:
        assert Checkpointer(nn.Linear(2, 2), str(tmp_path)).resume_or_load("", resume=True) == {}
    assert [message for message in messages if "scratch" in message] == []
    assert any("No checkpoint: training begins with its first iteration" in message for message in messages)


def test_a_missing_checkpoint_is_named_with_its_key(tmp_path):
    with pytest.raises(UsageError, match=r"none\.pth: no such weight file \(MODEL\.WEIGHTS"):
        Checkpointer(nn.Linear(1, 1)).load(str(tmp_path / "none.pth"))


@pytest.mark.parametrize("epochs", [1, 2])
def test_weights_are_saved_before_an_evaluation_that_fails(tmp_path, monkeypatch, epochs):
    def out_of_memory(cfg, model):
        raise MemoryError

    cfg = small_config(tmp_path, "SOLVER.MAX_EPOCH", epochs, "SOLVER.CHECKPOINT_PERIOD", 1, "TEST.EVAL_PERIOD", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "test", staticmethod(out_of_memory))
        with pytest.raises(MemoryError):
            trained(cfg)
    name = "model_final.pth" if epochs == 1 else "model_0000.pth"
    assert (tmp_path / "last_checkpoint").read_text() == name
    resumed = trained(cfg, resume=True)
    assert resumed.start_epoch == 1 and "mAP" in resumed._last_eval_results
    saved = torch.load(tmp_path / name, weights_only=True)
    assert saved["epoch"] == 0


def test_nothing_is_saved_before_an_evaluation_but_what_is_saved_after_it(tmp_path, monkeypatch):
    saved = []
    save = Checkpointer.save
    monkeypatch.setattr(
        Checkpointer, "save", lambda self, name, **kwargs: (saved.append((name, *kwargs)), save(self, name, **kwargs))
    )
    options = ["SOLVER.MAX_EPOCH", 3, "SOLVER.CHECKPOINT_PERIOD", 2, "TEST.EVAL_PERIOD", 1]
    trained(small_config(tmp_path, *options))
    before, after = ("epoch", "best_metric"), ("epoch", "metric", "best_metric")
    assert [entry for entry in saved if entry[0] != "model_best"] == [
        ("model_0001", *before),
        ("model_0001", *after),
        ("model_final", *before),
        ("model_final", *after),
    ]


def test_resuming_without_a_last_checkpoint_sets_the_others_aside_and_says_so(tmp_path):
    cfg = small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 0)
    trained(cfg)
    (tmp_path / "last_checkpoint").unlink()
    before = weights_of(tmp_path / "model_final.pth")
    with logged_by_fastreid() as messages:
        Trainer(cfg).resume_or_load(resume=True)
    assert any("starts anew; --resume found no last_checkpoint there" in message for message in messages)
    kept = weights_of(tmp_path / "earlier-1/model_final.pth")
    assert all(torch.equal(before[name], kept[name]) for name in before)
