"""Learning rate schedules that divide by zero in a short run, always.

An epoch of no iterations (fewer images than ``SOLVER.IMS_PER_BATCH``), or a warm-up or delay as long as the run
under ``CosineAnnealingLR``, end in a ZeroDivisionError or in a schedule that runs backwards. Here they are an
error that names the keys. Can go when FastReID checks them.
"""

import math

import torch
from fastreid.config import CfgNode
from fastreid.solver import build as solver_build
from fastreid.solver import lr_scheduler

from mdpr_fastreid.compat.replacing import replace
from mdpr_fastreid.errors import UsageError


def apply() -> None:
    """Check the lengths before ``build_lr_scheduler`` divides by them."""
    stock_build = solver_build.build_lr_scheduler

    def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer, iters_per_epoch: int) -> dict:
        _check(cfg, iters_per_epoch)
        return stock_build(cfg, optimizer, iters_per_epoch)

    replace(solver_build, "build_lr_scheduler", build_lr_scheduler)


def _check(cfg: CfgNode, iters_per_epoch: int) -> None:
    solver = cfg.SOLVER
    if iters_per_epoch < 1:
        raise UsageError(
            f"the training set (DATASETS.NAMES {tuple(cfg.DATASETS.NAMES)}) has fewer images than one batch "
            f"(SOLVER.IMS_PER_BATCH {solver.IMS_PER_BATCH}): an epoch would have no iteration"
        )
    if not hasattr(lr_scheduler, solver.SCHED) or solver.SCHED not in (
        "MultiStepLR",
        "CosineAnnealingLR",
    ):
        raise UsageError(f"SOLVER.SCHED {solver.SCHED!r} is not one of MultiStepLR, CosineAnnealingLR")
    warmup_epochs = math.ceil(solver.WARMUP_ITERS / iters_per_epoch)
    if solver.SCHED == "CosineAnnealingLR" and solver.MAX_EPOCH - max(warmup_epochs, solver.DELAY_EPOCHS) < 1:
        raise UsageError(
            f"nothing is left of the {solver.MAX_EPOCH} epochs (SOLVER.MAX_EPOCH) for CosineAnnealingLR: "
            f"SOLVER.WARMUP_ITERS {solver.WARMUP_ITERS} takes {warmup_epochs} of {iters_per_epoch} iterations each, "
            f"SOLVER.DELAY_EPOCHS is {solver.DELAY_EPOCHS}"
        )
