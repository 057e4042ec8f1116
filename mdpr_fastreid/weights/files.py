"""Weight files: read without running code, written whole or not at all."""

import argparse
import os
import pathlib
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from mdpr_fastreid.errors import UsageError, printable
from mdpr_fastreid.weights.integrity import check_intact, no_weight_file, write_with_sha256

# What PyTorch says of a pickle that names more than the types it allows, unlike of one that is damaged
_SAYS_CODE = re.compile(
    "unsupported (global|class)|trying to (call reduce|instantiate)|can only (setitem|append|build)", re.IGNORECASE
)
_SAYS_WHAT = re.compile(r"(?:GLOBAL|class|reduce for|instantiate) `?([\w.]+)")

_HOLDERS = ("model", "state_dict", "model_state", "model_state_dict", "module")
"""What files call their weights, beside which they may hold anything."""

_LARGEST_REPEATED = 2**30
"""Bytes of a tensor that repeats what the file holds: a few bytes can stand for more than any memory."""

_NETWORKS = (
    *("teacher", "student", "online_network", "target_network", "target_encoder"),
    *("encoder_q", "encoder_k", "encoder", "backbone"),
)
"""What self-supervised methods call the state dict of one of several networks; its names get this before them."""


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
        path: a ``.safetensors`` file, or one of ``torch.save`` with a bare state dict, with one under ``model`` or
            ``state_dict`` and anything beside it, or with one for each of several networks (``teacher``, ``student``):
            then their names begin with the network's.

    Raises:
        UsageError: the file is missing, truncated, needs code to be run, or holds no weights.
    """
    path = Path(path)
    check_intact(path)
    content = _load_safetensors(path) if path.suffix == ".safetensors" else load_weight_file(path)
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{path}: holds no state dict")
    key = next((key for key in _HOLDERS if isinstance(content.get(key), dict)), None)
    networks = [name for name in _NETWORKS if isinstance(content.get(name), dict)]
    if key:
        state_dict = content.pop(key)
    elif networks:
        key = networks[0]
        state_dict = {f"{name}.{entry}": value for name in networks for entry, value in content.pop(name).items()}
    else:
        state_dict = content
    if odd := [name for name in state_dict if not isinstance(name, str)]:
        raise UsageError(f"{path}: holds no state dict: {odd[0]!r} is no name of a weight, as names are text")
    wrong = [printable(name) for name, value in state_dict.items() if not isinstance(value, (torch.Tensor, np.ndarray))]
    if wrong or not state_dict:
        raise UsageError(f"{path}: holds no state dict; {', '.join(wrong[:5]) or 'it'} has no tensors")
    for name, value in state_dict.items():
        if unusual := _unusual(value):
            raise UsageError(
                f"{path}: {printable(name)} is {unusual}, and weights are dense numbers: save it as float32"
            )
    return {"model": state_dict, **(content if key else {})}


def _unusual(value: torch.Tensor | np.ndarray) -> str:
    """What a tensor is that no weight can be; "" for a usual one."""
    if isinstance(value, np.ndarray):
        return "" if value.dtype.kind in "fiub" else f"of type {value.dtype}"
    if value.is_meta:
        return "without values (meta)"
    if value.is_quantized:
        return f"quantised ({str(value.dtype).removeprefix('torch.')})"
    if value.layout != torch.strided:
        return f"sparse ({str(value.layout).removeprefix('torch.')})"
    if value.nbytes > max(_LARGEST_REPEATED, value.untyped_storage().nbytes()):
        return f"one number {value.numel():,} times (strides of 0)"
    return "complex" if value.is_complex() else ""


def load_weight_file(path: str | os.PathLike) -> Any:
    """The contents of a file written by ``torch.save``, on the CPU, without running any code in it.

    Args:
        path: the file.

    Raises:
        UsageError: there is no such file, it is truncated or no weight file, or reading it would run code.
    """
    try:
        with torch.serialization.safe_globals(_harmless_types()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise no_weight_file(path) from None
    except pickle.UnpicklingError as error:
        if _SAYS_CODE.search(str(error)):
            named = _SAYS_WHAT.search(str(error))
            raise UsageError(
                f"{path}: holds more than weights (pickled code), which is refused{f', {named[1]}' if named else ''}: "
                "reading it could run anything. If you trust its author, save the weights alone on a machine that you "
                "can afford to lose: torch.save(torch.load(OLD, map_location='cpu', weights_only=False)['state_dict'], "
                "NEW); see docs/how-to/weights.md"
            ) from error
        if _is_plain_pickle(path):
            raise UsageError(
                f"{path}: is a pickle that torch.save did not write, which is refused: reading it could run anything. "
                "If you trust its author, save the weights alone on a machine that you can afford to lose: "
                "torch.save(pickle.load(open(OLD, 'rb'))['model'], NEW); see docs/how-to/weights.md"
            ) from error
        raise UsageError(f"{path}: is truncated or not a file of torch.save") from error
    except IsADirectoryError:
        raise UsageError(f"{path}: is a folder, not a weight file") from None
    except PermissionError:
        raise UsageError(f"{path}: may not be read (permission denied)") from None
    except Exception as error:  # a file of anything else, taken for a pickle, ends in an error of any type
        if "TorchScript" in str(error):
            raise UsageError(f"{path}: is a TorchScript program; save its state_dict() instead") from error
        raise UsageError(f"{path}: is truncated or not a file of torch.save ({type(error).__name__})") from error


def _is_plain_pickle(path: str | os.PathLike) -> bool:
    """Whether a file begins as ``pickle.dump`` does by itself; torch.save writes a zip archive, or protocol 2."""
    with open(path, "rb") as file:
        first = file.read(2)
    return first[:1] == b"\x80" and first[1:] > b"\x02"


def _harmless_types() -> list:
    """What files of weights hold beside tensors, and what cannot do anything when it is read.

    Settings (``argparse.Namespace``), paths, and what NumPy arrays and scalars are made of, under the module names of
    NumPy 1 and 2.
    """
    codes = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
    functions = (np.ndarray([]).__reduce__()[0], np.float64(0).__reduce__()[0])
    return [
        *(argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath),
        *(np.ndarray, np.dtype, *{type(np.dtype(code)) for code in codes}),
        *(
            (function, f"{module}.multiarray.{function.__name__}")
            for function in functions
            for module in ("numpy.core", "numpy._core")
        ),
    ]


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise no_weight_file(path) from None
    except OSError as error:  # a folder is "No such device" to safetensors
        what = "is a folder, not a weight file" if path.is_dir() else f"cannot be read ({error})"
        raise UsageError(f"{path}: {what}") from None
    except safetensors.SafetensorError as error:
        raise UsageError(f"{path}: is truncated or not a safetensors file ({error})") from error


def write_weights(state_dict: dict[str, torch.Tensor], path: Path | str) -> None:
    """Write tensors by name, as ``.safetensors`` or in PyTorch's format by the suffix of the path.

    The file appears under its name only when it is complete, its SHA-256 beside it; its folder is made if need be.

    Raises:
        UsageError: as :func:`~mdpr_fastreid.io.write_whole`.
    """
    if Path(path).suffix == ".safetensors":
        contiguous = {name: value.contiguous() for name, value in state_dict.items()}
        write_with_sha256(path, safetensors.torch.save(contiguous))
    else:
        write_with_sha256(path, lambda file: torch.save(dict(state_dict), file))
