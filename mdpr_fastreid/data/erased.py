"""Where pixels are erased, on the way from a worker: a bit for each pixel, beside the bytes of its three colours."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_BITS = 8


def erased_key(key: str) -> str:
    """Of a batch: what is erased in the pictures under ``key``."""
    return f"{key} erased"


def pack_erased(marked: Tensor) -> Tensor:
    """``[..., H, W]`` of zeros and ones, in bytes, as bits ``[..., H, ceil(W / 8)]``."""
    return torch.from_numpy(np.packbits(marked.numpy(), axis=-1, bitorder="little"))


def erased_in(batch: Mapping[str, Any], key: str) -> Tensor:
    """Whether each pixel of the pictures ``[..., 3, H, W]`` under ``key`` is erased, ``[..., H, W]``."""
    packed = batch[erased_key(key)]
    weights = 2 ** torch.arange(_BITS, dtype=torch.uint8, device=packed.device)
    return (packed[..., None] & weights).bool().flatten(-2)[..., : batch[key].shape[-1]]
