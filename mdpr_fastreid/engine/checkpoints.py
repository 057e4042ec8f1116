"""Checkpoints: written whole, read without running code, and with all that a resumed run has to know."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.engine import hooks
from fastreid.modeling.meta_arch import Distiller
from fastreid.utils import checkpoint
from torch import nn

from mdpr_fastreid.engine.resuming import OPTIMIZER_KIND, check_resumable, kind_of
from mdpr_fastreid.engine.storage import check_current_storage
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import write_whole
from mdpr_fastreid.weights import read_checkpoint, start_from, write_with_sha256
from mdpr_fastreid.weights.integrity import no_weight_file

_BEST = "best_metric"


class Checkpointer(checkpoint.Checkpointer):
    """FastReID's checkpoints, complete or not there, even after a kill or on a full disk.

    Args:
        model: what is saved under ``model``.
        save_dir: ``OUTPUT_DIR``.
        save_to_disk: whether this process writes.
        sha256: what ``MODEL.WEIGHTS_SHA256`` pins of the file that training starts from.
        checkpointables: what is saved beside it, by name.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool = True,
        sha256: str = "",
        **checkpointables: Any,
    ) -> None:
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.sha256 = sha256

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``<name>.pth`` and, once it is whole, name it in ``last_checkpoint``.

        Args:
            name: of the file, without its suffix.
            kwargs: plain values that are saved too.

        Raises:
            FloatingPointError: a loss so far was infinite or NaN.
            UsageError: the file cannot be written; the checkpoint before is as it was.
        """
        check_current_storage()
        if not self.save_dir or not self.save_to_disk:
            return
        contents = {"model": self.model.state_dict()}
        contents.update((key, obj.state_dict()) for key, obj in self.checkpointables.items())
        if "optimizer" in self.checkpointables:
            contents[OPTIMIZER_KIND] = kind_of(self.checkpointables["optimizer"])
        # NumPy scalars are objects that PyTorch refuses to read without code
        for key, value in kwargs.items():
            contents[key] = value.item() if isinstance(value, np.generic) else value
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info(f"Saving checkpoint to {path}")
        try:
            write_with_sha256(path, lambda file: torch.save(contents, file))
        except UsageError as error:
            last = f"; --resume goes on from {self.get_checkpoint_file()}" if self.has_checkpoint() else ""
            raise UsageError(f"{error}{last}") from error
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the file that a resumed run reads."""
        write_whole(os.path.join(self.save_dir, "last_checkpoint"), last_filename_basename.encode())

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load a checkpoint, or start from a weight file of any known kind.

        Args:
            path: the file; empty for none.
            checkpointables: the names of what is loaded beside the model, all by default; none where training starts.

        Returns:
            What else the file holds (epoch, metric, ...).

        Raises:
            UsageError: the file is missing, cannot be read, is another one than the pinned one, or does not fit.
        """
        if not path:
            self.logger.info("No checkpoint: training begins with its first iteration")
            return {}
        if not os.path.exists(path):
            raise UsageError(f"{no_weight_file(path)} (MODEL.WEIGHTS, or named by a last_checkpoint)")
        if checkpointables == []:
            return start_from(self.model, self.path_manager.get_local_path(path), self.sha256)
        loaded = super().load(path, checkpointables)
        loaded.pop(OPTIMIZER_KIND, None)
        return loaded

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Resume from the checkpoint that ``last_checkpoint`` names, or start from a file.

        Args:
            path: ``MODEL.WEIGHTS``; may be empty.
            resume: whether to resume if there is a checkpoint; then what a kill left half-written is removed.

        Raises:
            UsageError: as :meth:`load`; or a file is pinned, and none is given.
        """
        if self.sha256 and not resume and not path:
            raise UsageError("MODEL.WEIGHTS_SHA256 pins a file, but MODEL.WEIGHTS names none")
        loaded = super().resume_or_load(path, resume=resume)
        if resume and self.save_to_disk and self.has_checkpoint():
            for half_written in Path(self.save_dir).glob("*.pth.tmp"):
                half_written.unlink()
        return loaded

    def _load_file(self, f: str) -> dict[str, Any]:
        checkpoint = read_checkpoint(f)
        check_resumable(f, checkpoint, self.model, self.checkpointables)
        return checkpoint


class PeriodicCheckpointer(hooks.PeriodicCheckpointer):
    """Saves the best, periodic and final models under FastReID's names, and knows the best metric after a resume."""

    def step(self, epoch: int, **kwargs: Any) -> None:
        """Save ``model_best`` on a new best metric, and ``model_<epoch>`` or, after the last epoch, ``model_final``.

        Args:
            epoch: the one that is over, from 0.
            kwargs: ``metric``, and what else is saved.
        """
        name = self.name_after(epoch)
        if not name:
            return
        is_best = kwargs["metric"] > self.best_metric
        self.best_metric = max(kwargs["metric"], self.best_metric)
        state = {"epoch": int(epoch), **kwargs, _BEST: self.best_metric}
        if is_best:
            self.checkpointer.save("model_best", **state)
        # Last, so that last_checkpoint names it
        self.checkpointer.save(name, **state)

    def save_weights(self, epoch: int) -> None:
        """Save what :meth:`step` will save, before there is a metric: an evaluation that fails costs no weights.

        Args:
            epoch: the one that is over, from 0.
        """
        name = self.name_after(epoch)
        if name:
            self.checkpointer.save(name, epoch=int(epoch), **{_BEST: self.best_metric})

    def name_after(self, epoch: int) -> str:
        """Of the file that is saved after an epoch; "" if none is."""
        if epoch >= self.max_epoch - 1:
            return "model_final"
        return f"model_{epoch:04d}" if self.period >= 1 and (epoch + 1) % self.period == 0 else ""

    def resume(self, loaded: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint says; FastReID's own have the metric of their epoch, not the best one."""
        self.best_metric = loaded.get(_BEST, loaded.get("metric", self.best_metric))


def teacher_of(model: nn.Module) -> dict[str, nn.Module]:
    """What a ``Distiller`` has to save beside its weights: its averaged teacher, if it has one.

    Args:
        model: of any architecture, not wrapped.
    """
    if isinstance(model, Distiller) and model.ema_enabled:
        return {"ema_teacher": model.model_ts[0]}
    return {}


def set_aside_checkpoints(output_dir: Path, asked_to_resume: bool = False) -> Path | None:
    """Move the checkpoints of an earlier run into a folder ``earlier-<n>`` of their own, and say so.

    Args:
        output_dir: ``OUTPUT_DIR``.
        asked_to_resume: whether the run would have gone on from one, had ``last_checkpoint`` named it.

    Returns:
        The new folder, or None if there was no checkpoint.
    """
    checkpoints = sorted(output_dir.glob("*.pth"))
    if not checkpoints:
        return None
    number = 1
    while (output_dir / f"earlier-{number}").exists():
        number += 1
    folder = output_dir / f"earlier-{number}"
    folder.mkdir()
    for path in [*checkpoints, *output_dir.glob("*.pth.sha256"), *output_dir.glob("last_checkpoint")]:
        path.rename(folder / path.name)
    how = (
        "--resume found no last_checkpoint there, the file that names the newest one"
        if asked_to_resume
        else "--resume would have continued that one"
    )
    logging.getLogger("fastreid").warning(
        f"{output_dir} held {len(checkpoints)} checkpoints of an earlier run, now in {folder}. "
        f"This run starts anew; {how}"
    )
    return folder
