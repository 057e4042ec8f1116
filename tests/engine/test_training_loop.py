"""Beginnings and ends of a run."""

import pytest
from fastreid.engine.hooks import HookBase
from small_runs import logged_by_fastreid, small_config, trained

from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.errors import UsageError


class FailAtTheEnd(HookBase):
    def __init__(self, error):
        self.error = error

    def after_step(self):
        if self.trainer.iter == self.trainer.max_iter - 1:
            raise self.error


def failed_run(tmp_path, error):
    trainer = Trainer(small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 5))
    trainer.register_hooks([FailAtTheEnd(error)])
    with logged_by_fastreid() as messages, pytest.raises(type(error)):
        trainer.train()
    return trainer, messages


def test_a_failed_training_is_not_evaluated(tmp_path):
    trainer, messages = failed_run(tmp_path, ZeroDivisionError())
    assert not hasattr(trainer, "_last_eval_results")
    assert "Exception during training:" in messages


def test_a_mistake_of_the_users_is_not_logged_with_a_traceback(tmp_path):
    _, messages = failed_run(tmp_path, UsageError("a bad image"))
    assert "Exception during training:" not in messages


def test_a_loss_that_is_not_finite_ends_the_run_and_says_when(tmp_path):
    trainer = Trainer(small_config(tmp_path, "SOLVER.MAX_EPOCH", 1))
    trainer.model.heads.weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="infinite or NaN at iteration=0"):
        trainer.train()


@pytest.mark.parametrize("period", [0, -1])
def test_without_an_evaluation_period_a_run_ends_without_results(tmp_path, period):
    trainer = Trainer(small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", period))
    with logged_by_fastreid() as messages:
        assert trainer.train() is None
    assert any("TEST.EVAL_PERIOD" in message for message in messages)


def test_a_period_longer_than_the_run_evaluates_at_its_end(tmp_path):
    trainer = Trainer(small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 50))
    assert "mAP" in trainer.train()


def test_resuming_a_complete_run_evaluates_it(tmp_path):
    cfg = small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 1)
    results = trained(cfg)._last_eval_results
    with logged_by_fastreid() as messages:
        again = trained(cfg, resume=True)
    assert again._last_eval_results == pytest.approx(results)
    assert any("Training is complete: 1 of 1 epochs" in message for message in messages)


def test_fewer_images_than_a_batch_is_an_error_that_names_the_keys(tmp_path):
    options = ["SOLVER.IMS_PER_BATCH", 512, "DATALOADER.SAMPLER_TRAIN", "TrainingSampler"]
    with pytest.raises(UsageError, match=r"DATASETS\.NAMES.*SOLVER\.IMS_PER_BATCH 512"):
        Trainer(small_config(tmp_path, *options))


def test_a_run_of_one_iteration_prints_its_losses(tmp_path):
    options = ["SOLVER.IMS_PER_BATCH", 256, "DATALOADER.SAMPLER_TRAIN", "TrainingSampler", "SOLVER.MAX_EPOCH", 1]
    with logged_by_fastreid() as messages:
        Trainer(small_config(tmp_path, *options)).train()
    assert sum("total_loss" in message for message in messages) == 1
