"""Weight files: read without running code, written whole or not at all."""

import os
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from mdpr_fastreid.compat.weight_files import load_weight_file
from mdpr_fastreid.errors import UsageError


def read_weights(path: Path | str) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Read tensors by name from a ``.pth`` or ``.safetensors`` file, on the CPU.

    Takes a bare state dict, or a checkpoint that holds one under ``model`` or ``state_dict``, as FastReID's does.

    Args:
        path: the file.

    Returns:
        The state dict, and the names of what else the file held (optimizer, epoch, ...).

    Raises:
        UsageError: the file is missing, truncated, needs code to be run, or holds no weights.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        return _state_dict_in(load_weight_file(path), path)
    try:
        return safetensors.torch.load_file(path), []
    except FileNotFoundError:
        raise UsageError(f"{path}: no such weight file") from None
    except safetensors.SafetensorError as error:
        raise UsageError(f"{path}: is truncated or not a safetensors file ({error})") from error


def write_weights(state_dict: dict[str, torch.Tensor], path: Path | str) -> None:
    """Write tensors by name, as ``.safetensors`` or in PyTorch's format by the suffix of the path.

    The file appears under its name only when it is complete.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.suffix == ".safetensors":
            safetensors.torch.save_file({name: value.contiguous() for name, value in state_dict.items()}, temporary)
        else:
            torch.save(dict(state_dict), temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _state_dict_in(content: object, path: Path) -> tuple[dict[str, torch.Tensor], list[str]]:
    left: list[str] = []
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            left = [str(name) for name in content if name != key]
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{path}: holds no state dict")
    wrong = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise UsageError(f"{path}: holds no state dict, as {', '.join(wrong[:5])} are no tensors")
    return content, left
