"""Schedules fit the length of a run, or are one error that names the keys."""

import pytest
import torch
from small_runs import logged_by_fastreid, small_config, trained
from torch import nn

from mdpr_fastreid.engine.schedules import build_schedules
from mdpr_fastreid.errors import UsageError

COSINE = ["SOLVER.SCHED", "CosineAnnealingLR"]


def built(tmp_path, iterations, *options):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.01)
    return optimizer, build_schedules(small_config(tmp_path, *options), optimizer, iterations)


def test_an_epoch_without_iterations_is_an_error_that_names_the_keys(tmp_path):
    with pytest.raises(UsageError, match=r"DATASETS\.NAMES.*SOLVER\.IMS_PER_BATCH 64"):
        built(tmp_path, 0)


def test_a_schedule_with_room_is_the_stock_one(tmp_path):
    _, schedules = built(tmp_path, 4, *COSINE, "SOLVER.MAX_EPOCH", 5)
    assert schedules["lr_sched"].T_max == 4
    assert set(schedules) == {"lr_sched", "warmup_sched"}


TOO_LONG = {
    "warm-up as long as the run": ["SOLVER.MAX_EPOCH", 2, "SOLVER.WARMUP_ITERS", 8],
    "warm-up longer than the run": ["SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_ITERS", 2000],
    "delay as long as the run": ["SOLVER.MAX_EPOCH", 2, "SOLVER.DELAY_EPOCHS", 2],
}


@pytest.mark.parametrize("options", TOO_LONG.values(), ids=TOO_LONG)
def test_a_cosine_that_never_begins_is_built_and_named_in_the_log(tmp_path, options):
    with logged_by_fastreid() as messages:
        _, schedules = built(tmp_path, 4, *COSINE, *options)
    assert schedules["lr_sched"].T_max >= 1
    assert sum("SOLVER.WARMUP_ITERS" in message and "SOLVER.DELAY_EPOCHS" in message for message in messages) == 1


def test_one_epoch_of_a_cosine_config_trains_in_warm_up_alone(tmp_path):
    options = ["SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_ITERS", 2000, "SOLVER.BASE_LR", 0.1, "TEST.EVAL_PERIOD", 0]
    trainer = trained(small_config(tmp_path, *COSINE, *options))
    rates = [rate for rate, _ in trainer.storage.history("lr").values()]
    factor = trainer.cfg.SOLVER.WARMUP_FACTOR
    expected = [0.1 * (factor + (1 - factor) * iteration / 2000) for iteration in range(4)]
    assert rates == pytest.approx(expected)
    assert (tmp_path / "model_final.pth").exists()
