"""Runs that are killed and resumed."""

import pytest
import torch
from fastreid.engine.hooks import HookBase
from small_runs import trained

from mdpr_fastreid.engine import Trainer


class Killed(BaseException):
    """Stands for a kill -9: nothing of the run survives but its files."""


class KillAt(HookBase):
    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_step(self) -> None:
        if self.trainer.iter == self.iteration:
            raise Killed


def run_killed_and_resumed(cfg, iteration, trainer_class=Trainer):
    """The trainer that finished a run which was killed after an iteration."""
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=False)
    trainer.register_hooks([KillAt(iteration)])
    with pytest.raises(Killed):
        trainer.train()
    torch.manual_seed(12345)  # what other work leaves behind must not matter
    return trained(cfg, resume=True, trainer_class=trainer_class)
