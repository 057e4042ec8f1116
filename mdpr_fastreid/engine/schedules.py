"""Learning rate schedules: FastReID's, where their lengths fit the run."""

import logging
import math
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.solver import build_lr_scheduler as build_stock_schedules

from mdpr_fastreid.errors import SettingsError, UsageError


def build_schedules(cfg: CfgNode, optimizer: torch.optim.Optimizer, iters_per_epoch: int) -> dict[str, Any]:
    """FastReID's schedules of a run: ``lr_sched``, stepped after epochs, and ``warmup_sched``, after iterations.

    In a run that is over before warm-up and delay are, the first of them is never stepped, and can have any length.

    Args:
        cfg: the run's config.
        optimizer: whose learning rates are scheduled.
        iters_per_epoch: iterations of one epoch.

    Raises:
        UsageError: an epoch has no iteration, or layers would end at a higher learning rate than they begin with.
    """
    solver = cfg.SOLVER
    if iters_per_epoch < 1:
        raise UsageError(
            f"the training set (DATASETS.NAMES {tuple(cfg.DATASETS.NAMES)}) has fewer images than one batch "
            f"(SOLVER.IMS_PER_BATCH {solver.IMS_PER_BATCH}): an epoch would have no iteration; lower it"
        )
    _check_floor(solver, optimizer)
    before = max(math.ceil(solver.WARMUP_ITERS / iters_per_epoch), solver.DELAY_EPOCHS)
    if solver.SCHED == "CosineAnnealingLR" and before >= solver.MAX_EPOCH:
        logging.getLogger("fastreid").warning(
            f"The learning rate is never annealed: SOLVER.WARMUP_ITERS {solver.WARMUP_ITERS} (of {iters_per_epoch} an "
            f"epoch) or SOLVER.DELAY_EPOCHS {solver.DELAY_EPOCHS} takes all of SOLVER.MAX_EPOCH {solver.MAX_EPOCH}"
        )
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SOLVER.MAX_EPOCH = before + 1
    return build_stock_schedules(cfg, optimizer, iters_per_epoch)


def _check_floor(solver: CfgNode, optimizer: torch.optim.Optimizer) -> None:
    """Refuse an ``ETA_MIN_LR`` for all parameters that is above the learning rate of some: theirs would rise to it."""
    if solver.SCHED != "CosineAnnealingLR" or solver.ETA_MIN_LR > solver.BASE_LR:
        return
    lowest = min(group.get("initial_lr", group["lr"]) for group in optimizer.param_groups)
    if lowest < solver.ETA_MIN_LR:
        raise SettingsError(
            f"SOLVER.ETA_MIN_LR {solver.ETA_MIN_LR:g} is above the smallest learning rate, {lowest:.3g} (of "
            f"SOLVER.BASE_LR {solver.BASE_LR:g} after SOLVER.LAYER_DECAY and the other factors), which would rise to "
            "it: set it below that"
        )
