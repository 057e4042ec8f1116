"""What FastReID's own trainer fails in without the patches, and that they do nothing where it works."""

import inspect
import os

import numpy as np
import pytest
import torch
from fastreid.engine import DefaultTrainer
from fastreid.engine.train_loop import AMPTrainer
from fastreid.modeling import build_model
from fastreid.solver import build_optimizer
from fastreid.utils.checkpoint import Checkpointer
from fastreid.utils.events import EventStorage
from small_runs import small_config
from torch import nn

from mdpr_fastreid.compat import patches, stock
from mdpr_fastreid.engine.steps import TrainingStep
from mdpr_fastreid.errors import UsageError

BY_TARGET = {patch.target: patch for patch in patches()}


def weights_change(build, tmp_path):
    model = build_model(small_config(tmp_path, "MODEL.HEADS.NUM_CLASSES", 4))
    before = model.heads.weight.detach().clone()
    optimizer, _ = build(small_config(tmp_path, "SOLVER.BASE_LR", 0.1), model)
    with EventStorage():
        losses = model({"images": torch.rand(8, 3, 32, 16) * 255, "targets": torch.arange(8) % 4})
    optimizer.zero_grad()
    sum(losses.values()).backward()
    optimizer.step()
    return not torch.equal(model.heads.weight, before)


def test_the_stock_optimizer_changes_no_weight_and_the_patched_one_does(tmp_path):
    assert not weights_change(stock("fastreid.solver.build:build_optimizer"), tmp_path)
    assert weights_change(build_optimizer, tmp_path)


def test_the_optimizer_is_left_alone_where_zero_grad_keeps_gradients(monkeypatch):
    patch = BY_TARGET["fastreid.solver.build:build_optimizer"]
    assert patch.needed()
    kept = lambda self, set_to_none=False: None  # noqa: E731
    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", kept)
    assert not patch.needed()


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without CUDA")
def test_mixed_precision_is_ours_without_cuda():
    assert AMPTrainer is TrainingStep
    parameters = list(inspect.signature(stock("fastreid.engine.train_loop:AMPTrainer")).parameters)
    assert list(inspect.signature(TrainingStep).parameters)[: len(parameters)] == parameters


WITHOUT_CUDA = [
    "fastreid.engine.train_loop:AMPTrainer",
    "fastreid.engine.launch:launch",
    "fastreid.engine.defaults:DistributedDataParallel",
]


@pytest.mark.parametrize("target", WITHOUT_CUDA)
def test_with_cuda_the_stock_one_stays(monkeypatch, target):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for available in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert BY_TARGET[target].needed() is not available


def test_under_torchrun_the_launch_is_ours_with_cuda_too(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    assert BY_TARGET["fastreid.engine.launch:launch"].needed()


def test_a_checkpoint_with_a_numpy_metric_is_read(tmp_path):
    model = nn.Linear(2, 2)
    torch.save({"model": model.state_dict(), "metric": np.float64(12.5)}, tmp_path / "model_final.pth")
    path = str(tmp_path / "model_final.pth")
    with pytest.raises(Exception, match="Weights only load failed"):
        stock("fastreid.utils.checkpoint:Checkpointer._load_file")(Checkpointer(model), path)
    assert Checkpointer(model).load(path) == {"metric": 12.5}


def test_a_truncated_checkpoint_is_named(tmp_path):
    (tmp_path / "model_final.pth").write_bytes(b"PK\x03\x04 half of it")
    with pytest.raises(UsageError, match=r"model_final\.pth: is truncated"):
        Checkpointer(nn.Linear(1, 1)).load(str(tmp_path / "model_final.pth"))


def test_a_trainer_makes_its_output_folder(tmp_path):
    trainer = DefaultTrainer(small_config(tmp_path / "new" / "folder", "SEED", 0))
    assert os.path.isdir(trainer.cfg.OUTPUT_DIR)
    for writer in trainer._hooks[-1]._writers:
        writer.close()
