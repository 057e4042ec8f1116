"""Checkpoints that a kill leaves half-written, and what a resumed run has forgotten, always.

``Checkpointer.save`` writes in place, so that a run killed meanwhile resumes from a truncated file; here a file is
written under a temporary name, moved when it is whole, and only then named by ``last_checkpoint``.
``PeriodicCheckpointer`` starts again from the worst metric and overwrites ``model_best.pth`` after a resume; here
the best metric is in the checkpoint. So is the averaged teacher of a ``Distiller``, which stock starts anew.
Can go when FastReID does all of it.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.engine.defaults import DefaultTrainer
from fastreid.engine.hooks import PeriodicCheckpointer
from fastreid.modeling.meta_arch import Distiller
from fastreid.utils.checkpoint import Checkpointer
from fastreid.utils.checkpoint import PeriodicCheckpointer as PeriodicSaver

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import write_whole

_BEST = "best_metric"


def apply() -> None:
    """Mend ``Checkpointer``, ``PeriodicCheckpointer`` and what ``DefaultTrainer`` saves and restores."""
    DefaultTrainer.__init__ = _saving_the_teacher(DefaultTrainer.__init__)
    Checkpointer.save = _save
    Checkpointer.tag_last_checkpoint = _tag_last_checkpoint
    PeriodicSaver.step = _step
    DefaultTrainer.resume_or_load = _restoring_best_metric(DefaultTrainer.resume_or_load)


def _save(self: Checkpointer, name: str, **kwargs: Any) -> None:
    if not self.save_dir or not self.save_to_disk:
        return
    contents = {"model": self.model.state_dict()}
    contents.update((key, obj.state_dict()) for key, obj in self.checkpointables.items())
    # NumPy scalars are objects that reading without code refuses
    contents.update((key, value.item() if isinstance(value, np.generic) else value) for key, value in kwargs.items())
    path = os.path.join(self.save_dir, f"{name}.pth")
    self.logger.info(f"Saving checkpoint to {path}")
    try:
        write_whole(path, lambda file: torch.save(contents, file))
    except UsageError as error:
        # The one before is as it was
        last = f"; --resume goes on from {self.get_checkpoint_file()}" if self.has_checkpoint() else ""
        raise UsageError(f"{error}{last}") from error
    self.tag_last_checkpoint(f"{name}.pth")


def _tag_last_checkpoint(self: Checkpointer, last_filename_basename: str) -> None:
    path = os.path.join(self.save_dir, "last_checkpoint")
    write_whole(path, last_filename_basename.encode())


def _step(self: PeriodicSaver, epoch: int, **kwargs: Any) -> None:
    """Save ``model_best`` on a new best metric, and ``model_<epoch>`` or, after the last epoch, ``model_final``."""
    is_final = epoch >= self.max_epoch - 1
    if not is_final and (self.period < 1 or (epoch + 1) % self.period != 0):
        return
    is_best = kwargs["metric"] > self.best_metric
    self.best_metric = max(kwargs["metric"], self.best_metric)
    state = {"epoch": int(epoch), **kwargs, _BEST: self.best_metric}
    if is_best:
        self.checkpointer.save("model_best", **state)
    # Last, so that last_checkpoint names it
    self.checkpointer.save("model_final" if is_final else f"model_{epoch:04d}", **state)


def _saving_the_teacher(stock_init: Callable) -> Callable:
    @functools.wraps(stock_init)
    def __init__(self: DefaultTrainer, cfg: CfgNode) -> None:
        stock_init(self, cfg)
        model = self.checkpointer.model
        if isinstance(model, Distiller) and model.ema_enabled:
            self.checkpointer.checkpointables["ema_teacher"] = model.model_ts[0]

    return __init__


def _restoring_best_metric(stock_resume: Callable) -> Callable:
    @functools.wraps(stock_resume)
    def resume_or_load(self: DefaultTrainer, resume: bool = True) -> None:
        loaded = {}
        stock_load = self.checkpointer.load

        def load(path: str, checkpointables: list[str] | None = None) -> Any:
            loaded.update(stock_load(path, checkpointables))
            return loaded

        self.checkpointer.load = load
        try:
            stock_resume(self, resume)
        finally:
            del self.checkpointer.load
        if resume and self.checkpointer.has_checkpoint():
            _remove_half_written(self.checkpointer)
            for hook in self._hooks:
                if isinstance(hook, PeriodicCheckpointer):
                    hook.best_metric = loaded.get(_BEST, loaded.get("metric", hook.best_metric))

    return resume_or_load


def _remove_half_written(checkpointer: Checkpointer) -> None:
    if checkpointer.save_to_disk:
        for path in Path(checkpointer.save_dir).glob("*.pth.tmp"):
            path.unlink()
