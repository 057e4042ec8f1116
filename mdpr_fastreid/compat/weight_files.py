"""Weight files: pickles are code, and a truncated one ends in an error that does not name it.

Every ``torch.load`` of FastReID (checkpoints, pretrained backbones) reads tensors, NumPy arrays and plain values
only, and a file that cannot be read is one error with its name. What training starts from (``MODEL.WEIGHTS`` without
``--resume``) may be of any known kind; stock takes what has its names and is silent about the rest, and without a
checkpoint it claims to train from scratch, pretrained backbone or not. Depends on PyTorch >= 2.6 for reading no code
by default, always for the rest. Can go when FastReID passes ``weights_only=True``, names the file, and refuses one
that does not fit.
"""

import functools
import os
from typing import Any

from fastreid.engine.defaults import DefaultTrainer
from fastreid.utils.checkpoint import Checkpointer

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import read_checkpoint, start_from


def apply() -> None:
    """Let ``Checkpointer`` read its files through ``read_checkpoint``, and a training start recognise them."""
    Checkpointer._load_file = lambda self, path: read_checkpoint(path)
    stock_load = Checkpointer.load

    def load(self: Checkpointer, path: str, checkpointables: list[str] | None = None) -> Any:
        if not path:  # stock says "from scratch", whatever the backbone was built with
            self.logger.info("No checkpoint: training begins with its first iteration")
            return {}
        if "://" not in path and not os.path.isfile(path):
            raise UsageError(f"{path}: no such weight file (MODEL.WEIGHTS, or named by a last_checkpoint)")
        if checkpointables == []:  # so the toolbox says "the weights alone", where training starts
            return start_from(self.model, self.path_manager.get_local_path(path), getattr(self, "pinned_sha256", ""))
        return stock_load(self, path, checkpointables)

    Checkpointer.load = load
    stock_resume_or_load = DefaultTrainer.resume_or_load

    @functools.wraps(stock_resume_or_load)
    def resume_or_load(self: DefaultTrainer, resume: bool = True) -> None:
        self.checkpointer.pinned_sha256 = self.cfg.MODEL.get("WEIGHTS_SHA256", "")
        if self.checkpointer.pinned_sha256 and not resume and not self.cfg.MODEL.WEIGHTS:
            raise UsageError("MODEL.WEIGHTS_SHA256 pins a file, but MODEL.WEIGHTS names none")
        stock_resume_or_load(self, resume)

    DefaultTrainer.resume_or_load = resume_or_load
