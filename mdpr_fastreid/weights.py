"""Weight files: read without running code, written whole or not at all."""

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.torch
import torch

from mdpr_fastreid.errors import UsageError

# What PyTorch says of a pickle that names more than the types it allows, unlike of one that is damaged
_SAYS_CODE = re.compile("unsupported (global|class)|trying to (call reduce|instantiate)", re.IGNORECASE)


def read_weights(path: Path | str) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Read tensors by name from a ``.pth`` or ``.safetensors`` file, on the CPU.

    Args:
        path: a file as :func:`read_checkpoint` takes it.

    Returns:
        The state dict, and the names of what else the file held (optimizer, epoch, ...).

    Raises:
        UsageError: the file is missing, truncated, needs code to be run, or holds no weights.
    """
    checkpoint = read_checkpoint(path)
    return checkpoint.pop("model"), list(checkpoint)


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint, on the CPU, with its weights under ``model`` whatever the file calls them.

    Args:
        path: a ``.safetensors`` file, or one of ``torch.save`` with a bare state dict or with one under ``model`` or
            ``state_dict`` and anything beside it.

    Raises:
        UsageError: the file is missing, truncated, needs code to be run, or holds no weights.
    """
    path = Path(path)
    content = _load_safetensors(path) if path.suffix == ".safetensors" else load_weight_file(path)
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{path}: holds no state dict")
    key = next((key for key in ("model", "state_dict") if isinstance(content.get(key), dict)), None)
    state_dict = content.pop(key) if key else content
    wrong = [str(name) for name, value in state_dict.items() if not isinstance(value, (torch.Tensor, np.ndarray))]
    if wrong or not state_dict:
        raise UsageError(f"{path}: holds no state dict; {', '.join(wrong[:5]) or 'it'} has no tensors")
    return {"model": state_dict, **(content if key else {})}


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


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such weight file") from None
    except safetensors.SafetensorError as error:
        raise UsageError(f"{path}: is truncated or not a safetensors file ({error})") from error


def write_weights(state_dict: dict[str, torch.Tensor], path: Path | str) -> None:
    """Write tensors by name, as ``.safetensors`` or in PyTorch's format by the suffix of the path.

    The file appears under its name only when it is complete; its folder is made if need be.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        content = safetensors.torch.save({name: value.contiguous() for name, value in state_dict.items()})
        write_whole(path, lambda file: file.write(content))
    else:
        write_whole(path, lambda file: torch.save(dict(state_dict), file))


def write_whole(path: Path | str, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that ``path`` is, at any moment, either as it was or complete.

    Args:
        path: the file.
        write: gets the temporary file, opened for writing bytes, in the same folder.
    """
    temporary = Path(f"{path}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(temporary.parent.absolute(), os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, has to survive a power cut
    finally:
        os.close(folder)
