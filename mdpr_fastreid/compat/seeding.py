"""Runs that cannot be repeated: FastReID seeds from the clock, always.

With ``SEED`` at 0 or more every random generator of a process, and the order of the samples, follow from the seed,
the epoch and the rank alone. So two runs are the same, and so is one that was resumed after any epoch. With -1
the stock behaviour stays. A feature rather than a mend, here because it has to hold for the stock trainer, too.
"""

import functools
import logging
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.engine import defaults
from fastreid.engine.defaults import DefaultTrainer
from fastreid.engine.train_loop import TrainerBase
from fastreid.utils import comm
from torch.utils.data import DataLoader

from mdpr_fastreid.compat.replacing import replace

_BUILDING = -1


def apply() -> None:
    """Seed where a run is set up, where a trainer is built and where an epoch begins."""
    stock_setup = defaults.default_setup

    def default_setup(cfg: CfgNode, args: Any) -> None:
        stock_setup(cfg, args)
        if seed_of(cfg) >= 0:
            logging.getLogger("fastreid").info(f"SEED {cfg.SEED} takes the place of the generated one")
            seed_generators(cfg.SEED, _BUILDING, rank=0)

    replace(defaults, "default_setup", default_setup)
    DefaultTrainer.__init__ = _seeded_building(DefaultTrainer.__init__)
    TrainerBase.before_epoch = _seeded_epoch(TrainerBase.before_epoch)


def seed_of(cfg: CfgNode | None) -> int:
    """``SEED``, or -1 for a config without the plugin's keys."""
    return -1 if cfg is None else cfg.get("SEED", -1)


def seed_generators(seed: int, epoch: int, rank: int) -> None:
    """Seed Python, NumPy and torch (whose generator seeds the workers of a loader).

    Args:
        seed: ``SEED``, at least 0.
        epoch: from 0, or -1 while the run is set up.
        rank: of the process; the same for all where they have to draw the same.
    """
    words = np.random.SeedSequence([seed, epoch + 1, rank]).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.manual_seed(int(words[2]))


def _seeded_building(stock_init: Callable) -> Callable:
    @functools.wraps(stock_init)
    def __init__(self: DefaultTrainer, cfg: CfgNode) -> None:
        if seed_of(cfg) >= 0:
            seed_generators(cfg.SEED, _BUILDING, rank=0)
        stock_init(self, cfg)

    return __init__


def _seeded_epoch(stock_before_epoch: Callable) -> Callable:
    @functools.wraps(stock_before_epoch)
    def before_epoch(self: TrainerBase) -> None:
        seed = seed_of(getattr(self, "cfg", None))
        if seed >= 0:
            _begin_epoch(getattr(self, "_trainer", self), seed, self.epoch)
        stock_before_epoch(self)

    return before_epoch


def _begin_epoch(trainer: TrainerBase, seed: int, epoch: int) -> None:
    seed_generators(seed, epoch, comm.get_rank())
    loader = trainer.data_loader
    if not isinstance(loader, DataLoader):
        return  # somebody's own iterable, which may not start twice
    if hasattr(loader, "shutdown"):
        loader.shutdown()
    trainer._data_loader_iter = None  # ends the workers of the last epoch before the next ones start
    sampler = getattr(loader.batch_sampler, "sampler", None)
    if hasattr(sampler, "_seed"):  # FastReID's samplers seed themselves, with one number for all processes
        sampler._seed = int(np.random.SeedSequence([seed, epoch + 1]).generate_state(1)[0])
    for transform in getattr(getattr(loader.dataset, "transform", None), "transforms", ()):
        if hasattr(transform, "patchpool"):  # RandomPatch pastes from the images of earlier epochs
            transform.patchpool.clear()
    trainer._data_loader_iter = iter(loader)
