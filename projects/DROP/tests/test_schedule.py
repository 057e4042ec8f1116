"""The learning rate over a whole training, walked as the trainer does, without a training."""

from types import SimpleNamespace

import pytest
import torch
from fastreid.utils.events import EventStorage
from small_drop import PROJECT

from mdpr_fastreid.config import read_config
from mdpr_fastreid.engine.hooks import LRScheduler
from mdpr_fastreid.engine.schedules import build_schedules

TRAINING_IMAGES = {"occduke_r50": 15_618, "market1501_r50": 12_936, "duke_r50": 16_522}


def rates_of(cfg, per_epoch):
    """The learning rate that each epoch's last iteration is trained with."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=cfg.SOLVER.BASE_LR)
    hook = LRScheduler(optimizer, build_schedules(cfg, optimizer, per_epoch))
    hook.trainer = SimpleNamespace(
        iter=0, warmup_iters=cfg.SOLVER.WARMUP_ITERS, delay_epochs=cfg.SOLVER.DELAY_EPOCHS, grad_scaler=None
    )
    optimizer.step()
    rates = []
    with EventStorage() as hook.trainer.storage:
        for hook.trainer.epoch in range(cfg.SOLVER.MAX_EPOCH):
            for _ in range(per_epoch):
                hook.before_step()
                rate = optimizer.param_groups[0]["lr"]
                hook.after_step()
                hook.trainer.iter += 1
            rates.append(rate)
            hook.after_epoch()
    return rates


@pytest.mark.parametrize(("config", "images"), TRAINING_IMAGES.items())
def test_the_rate_warms_up_for_ten_epochs_and_decays_after_40_and_70(config, images):
    cfg = read_config(PROJECT / f"configs/{config}.yml", [])
    per_epoch = images // cfg.SOLVER.IMS_PER_BATCH
    assert 10 * per_epoch == cfg.SOLVER.WARMUP_ITERS
    factors = torch.tensor(rates_of(cfg, per_epoch), dtype=torch.float64) / cfg.SOLVER.BASE_LR
    assert (factors[:9].diff() > 0).all() and factors[9] < 1
    expected = torch.tensor([1.0] * 30 + [0.1] * 30 + [0.01] * 50, dtype=torch.float64)
    torch.testing.assert_close(factors[10:], expected)
