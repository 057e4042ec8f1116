"""What a model does before a training that starts anew: when it is called, and what all processes have afterwards."""

import os

import pytest
import torch
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline
from fastreid.utils import comm
from small_runs import assert_same_weights, small_config, trained, weights_of

from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.engine.launch import launch
from mdpr_fastreid.engine.preparation import prepare_training
from mdpr_fastreid.errors import UsageError

CALLS = []


class Prepared(Baseline):
    """Begins with other numbers than those it was built with."""

    def prepare_training(self, cfg, training_set):
        CALLS.append((cfg.MODEL.HEADS.NUM_CLASSES, self.heads.weight.clone()))
        self.heads.weight.copy_(torch.full_like(self.heads.weight, 0.25 + comm.get_rank()))
        self.backbone[1].running_mean.fill_(3.0 + comm.get_rank())


META_ARCH_REGISTRY.register(Prepared)


@pytest.fixture(autouse=True)
def no_calls_yet():
    CALLS.clear()


def config_of(folder, *overrides):
    options = ["MODEL.META_ARCHITECTURE", "Prepared", "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 0, "SEED", 1]
    return small_config(folder, *options, *overrides)


def test_a_training_that_starts_anew_begins_with_it_after_the_weights_were_loaded(tmp_path):
    trainer = Trainer(config_of(tmp_path))
    with torch.no_grad():
        trainer.model.heads.weight.fill_(7.0)
    torch.save({"model": trainer.model.state_dict()}, tmp_path / "begin.pth")
    trainer = Trainer(config_of(tmp_path / "run", "MODEL.WEIGHTS", str(tmp_path / "begin.pth")))
    trainer.resume_or_load(resume=False)
    ((classes, seen),) = CALLS
    assert classes == 16 and (seen == 7.0).all()
    assert (trainer.model.heads.weight == 0.25).all() and (trainer.model.backbone[1].running_mean == 3.0).all()


def test_what_is_trained_is_what_was_prepared(tmp_path):
    trainer = Trainer(config_of(tmp_path))
    trainer.resume_or_load(resume=False)
    prepared = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.train()
    ours = weights_of(tmp_path / "model_final.pth")
    # The same numbers, loaded into a model that has nothing to prepare
    torch.save({"model": prepared}, tmp_path / "prepared.pth")
    plain = config_of(
        tmp_path / "plain", "MODEL.META_ARCHITECTURE", "Baseline", "MODEL.WEIGHTS", str(tmp_path / "prepared.pth")
    )
    trained(plain)
    assert_same_weights(ours, weights_of(tmp_path / "plain/model_final.pth"))
    assert (ours["heads.weight"] != 0.25).any()


@pytest.mark.parametrize("asked_to_resume", [False, True])
def test_it_is_called_once_where_there_is_no_checkpoint(tmp_path, asked_to_resume):
    trained(config_of(tmp_path), resume=asked_to_resume)
    assert len(CALLS) == 1


def test_a_resumed_run_is_not_prepared_and_ends_as_one_that_was_not_interrupted(tmp_path):
    whole = config_of(tmp_path / "whole", "SOLVER.MAX_EPOCH", 2)
    trained(whole)
    trainer = Trainer(config_of(tmp_path / "part", "SOLVER.MAX_EPOCH", 2))
    trainer.resume_or_load(resume=False)
    trainer.max_epoch = 1
    trainer.train()
    CALLS.clear()
    resumed = trained(config_of(tmp_path / "part", "SOLVER.MAX_EPOCH", 2), resume=True)
    assert resumed.start_iter == 4 and not CALLS
    assert_same_weights(weights_of(tmp_path / "whole/model_final.pth"), weights_of(tmp_path / "part/model_final.pth"))


def test_starting_anew_over_an_earlier_run_is_prepared_again(tmp_path):
    trained(config_of(tmp_path))
    trained(config_of(tmp_path), resume=False)
    assert len(CALLS) == 2


def test_a_failed_preparation_leaves_the_earlier_run_where_it_is(tmp_path, monkeypatch):
    trained(config_of(tmp_path))

    def fail(self, cfg, training_set):
        raise UsageError("no teacher")

    monkeypatch.setattr(Prepared, "prepare_training", fail)
    with pytest.raises(UsageError, match="no teacher"):
        trained(config_of(tmp_path), resume=False)
    assert (tmp_path / "model_final.pth").exists() and not (tmp_path / "earlier-1").exists()


@pytest.mark.parametrize("how", ["parameter", "memory", "another"])
def test_a_parameter_that_was_replaced_is_named(tmp_path, monkeypatch, how):
    def replace(self, cfg, training_set):
        if how == "parameter":
            self.heads.weight = torch.nn.Parameter(torch.zeros_like(self.heads.weight))
        elif how == "memory":
            self.heads.weight.data = torch.zeros_like(self.heads.weight)
        else:
            self.heads.more = torch.nn.Parameter(torch.zeros(1))

    monkeypatch.setattr(Prepared, "prepare_training", replace)
    name = "heads.more" if how == "another" else "heads.weight"
    with pytest.raises(UsageError, match=rf"Prepared.prepare_training replaced the parameter {name}.*in place") as info:
        trained(config_of(tmp_path))
    assert "\n" not in str(info.value)


def test_a_model_without_it_stays_as_it_is():
    model = torch.nn.Linear(2, 2)
    before = model.weight.clone()
    prepare_training(small_config("unused"), model, [])
    assert torch.equal(model.weight, before)


def prepare_in_each_process(folder):
    trainer = Trainer(config_of(folder))
    trainer.resume_or_load(resume=False)
    assert len(CALLS) == 1
    model = trainer.model.module
    # No .pth: rank 0 may still be setting aside what lies there of an earlier run
    torch.save({"model": model.state_dict()}, os.path.join(folder, f"rank{comm.get_rank()}.pt"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on the CPU")
def test_all_processes_have_the_state_of_the_first(tmp_path):
    launch(prepare_in_each_process, 2, dist_url="auto", args=(str(tmp_path),))
    first, second = (weights_of(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    assert (first["heads.weight"] == 0.25).all() and (first["backbone.1.running_mean"] == 3.0).all()
    assert_same_weights(first, second)
