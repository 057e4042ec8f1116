"""The learning rate over a whole training, walked as the trainer does, without a training."""

from types import SimpleNamespace

import torch
from fastreid.utils.events import EventStorage

from mdpr_fastreid.engine.hooks import LRScheduler
from mdpr_fastreid.engine.schedules import build_schedules


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
