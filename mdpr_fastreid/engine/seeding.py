"""Runs that can be repeated: with a ``SEED`` every draw follows from the seed, the epoch and the rank alone.

So two runs are the same, and so is one that was resumed after any epoch. With ``SEED`` -1 FastReID's own seeds, made of
the clock, stay.
"""

import functools
import logging
import random

import numpy as np
import torch
from fastreid.config import CfgNode

_SETTING_UP = -1


def seed_setup(cfg: CfgNode) -> None:
    """Seed what is drawn before the first epoch (initial weights, the order of evaluation); nothing for ``SEED`` -1.

    Call it after FastReID's ``default_setup``, which seeds from the clock.

    Args:
        cfg: the run's config.
    """
    if cfg.SEED >= 0:
        _log_seed(cfg.SEED)
        seed_generators(cfg.SEED, _SETTING_UP, rank=0)


@functools.cache
def _log_seed(seed: int) -> None:
    logging.getLogger("fastreid").info(f"SEED {seed} takes the place of the generated one")


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
