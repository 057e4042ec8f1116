"""The learning rate over a whole training, walked as the trainer does, without a training."""

import pytest
import torch
from small_drop import PROJECT
from support.schedules import rates_of

from mdpr_fastreid.config import read_config

TRAINING_IMAGES = {"occduke_r50": 15_618, "market1501_r50": 12_936, "duke_r50": 16_522}


@pytest.mark.parametrize(("config", "images"), TRAINING_IMAGES.items())
def test_the_rate_warms_up_for_ten_epochs_and_decays_after_40_and_70(config, images):
    cfg = read_config(PROJECT / f"configs/{config}.yml", [])
    per_epoch = images // cfg.SOLVER.IMS_PER_BATCH
    assert 10 * per_epoch == cfg.SOLVER.WARMUP_ITERS
    factors = torch.tensor(rates_of(cfg, per_epoch), dtype=torch.float64) / cfg.SOLVER.BASE_LR
    assert (factors[:9].diff() > 0).all() and factors[9] < 1
    expected = torch.tensor([1.0] * 30 + [0.1] * 30 + [0.01] * 50, dtype=torch.float64)
    torch.testing.assert_close(factors[10:], expected)
