"""Weight files: pickles are code, and a truncated one ends in an error that does not name it.

Every ``torch.load`` of FastReID (checkpoints, pretrained backbones) reads tensors, NumPy arrays and plain values
only, and a file that cannot be read is one error with its name. Depends on PyTorch >= 2.6 for reading no code by
default, always for the error. Can go when FastReID passes ``weights_only=True`` and names the file.
"""

import os
from typing import Any

from fastreid.utils.checkpoint import Checkpointer

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import read_checkpoint


def apply() -> None:
    """Let ``Checkpointer`` read its files through ``read_checkpoint``."""
    Checkpointer._load_file = lambda self, path: read_checkpoint(path)
    stock_load = Checkpointer.load

    def load(self: Checkpointer, path: str, checkpointables: list[str] | None = None) -> Any:
        if path and "://" not in path and not os.path.isfile(path):
            raise UsageError(f"{path}: no such weight file (MODEL.WEIGHTS, or named by a last_checkpoint)")
        return stock_load(self, path, checkpointables)

    Checkpointer.load = load
