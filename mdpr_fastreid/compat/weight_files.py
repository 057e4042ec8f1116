"""Weight files: pickles are code, and a truncated one ends in an error that does not name it.

Every ``torch.load`` of FastReID (checkpoints, pretrained backbones) reads tensors, NumPy arrays and plain values
only, and a file that cannot be read is one error with its name. Depends on PyTorch >= 2.6 for reading no code by
default, always for the error. Can go when FastReID passes ``weights_only=True`` and names the file.
"""

import os
import pickle
import re
from typing import Any

import numpy as np
import torch
from fastreid.utils.checkpoint import Checkpointer

from mdpr_fastreid.errors import UsageError

# What PyTorch says of a pickle that names more than the types it allows, unlike of one that is damaged
_SAYS_CODE = re.compile("unsupported (global|class)|trying to (call reduce|instantiate)", re.IGNORECASE)


def apply() -> None:
    """Let ``Checkpointer`` read its files through ``load_weight_file``."""
    Checkpointer._load_file = lambda self, path: load_weight_file(path)
    stock_load = Checkpointer.load

    def load(self: Checkpointer, path: str, checkpointables: list[str] | None = None) -> Any:
        if path and "://" not in path and not os.path.isfile(path):
            raise UsageError(f"{path}: no such weight file (MODEL.WEIGHTS, or named by a last_checkpoint)")
        return stock_load(self, path, checkpointables)

    Checkpointer.load = load


def load_weight_file(path: str | os.PathLike, torch_load: Any = torch.load) -> Any:
    """The contents of a file written by ``torch.save``, on the CPU, without running any code in it.

    Args:
        path: the file.
        torch_load: the function that reads it, for callers that have replaced ``torch.load``.

    Raises:
        UsageError: there is no such file, it is truncated or no weight file, or reading it would run code.
    """
    try:
        with torch.serialization.safe_globals(_harmless_types()):
            return torch_load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such weight file") from None
    except pickle.UnpicklingError as error:
        if _SAYS_CODE.search(str(error)):
            raise UsageError(
                f"{path}: holds more than weights (pickled code), which is refused; "
                "save it anew as a state_dict of tensors"
            ) from error
        raise UsageError(f"{path}: is truncated or not a file of torch.save") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise UsageError(f"{path}: is truncated or not a file of torch.save ({type(error).__name__})") from error


def _harmless_types() -> list:
    """What NumPy arrays and scalars are made of, under the module names of NumPy 1 and 2."""
    dtypes = {
        type(np.dtype(code))
        for code in (
            "f2",
            "f4",
            "f8",
            "i1",
            "i2",
            "i4",
            "i8",
            "u1",
            "u2",
            "u4",
            "u8",
            "?",
        )
    }
    rebuild = np.ndarray([]).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    named = [
        (function, f"{module}.multiarray.{function.__name__}")
        for function in (rebuild, scalar)
        for module in ("numpy.core", "numpy._core")
    ]
    return [np.ndarray, np.dtype, *dtypes, *named]
