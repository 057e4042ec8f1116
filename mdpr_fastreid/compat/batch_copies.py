"""Copies that the input pipeline makes for nothing, always.

* ``fast_batch_collator`` fills a batch with zeros, adds each image to it and hands it to another process, which copies
  it once more: here a batch is stacked where that process reads it.
* ``RandomPatch`` keeps views of images, so a pool of 50,000 patches keeps as many whole images alive in each worker:
  44 GB at 384x192. Here it keeps the patches alone.

Batches stay the same bit for bit. Can go when FastReID stacks into shared memory and clones its patches.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from fastreid.data import build as data_build
from fastreid.data.transforms.transforms import RandomPatch

from mdpr_fastreid.compat.replacing import replace


def apply() -> None:
    """Mend the collator and the pool of patches."""
    replace(data_build, "fast_batch_collator", fast_batch_collator)
    RandomPatch.__call__ = _keeping_patches_alone(RandomPatch.__call__)


def fast_batch_collator(batched_inputs: Sequence) -> Any:
    """The stock collator, with images ``[C, H, W]`` stacked to ``[B, C, H, W]`` by :func:`_stacked`."""
    first = batched_inputs[0]
    if isinstance(first, Mapping):
        return {key: fast_batch_collator([one[key] for one in batched_inputs]) for key in first}
    if isinstance(first, torch.Tensor):
        return _stacked(batched_inputs)
    return fast_batch_collator.__wrapped__(batched_inputs)


# Of the module, so that spawned workers find it by its name
fast_batch_collator.__wrapped__ = data_build.fast_batch_collator


def _stacked(images: Sequence[torch.Tensor]) -> torch.Tensor:
    """``[B, C, H, W]`` of ``B`` images; in a worker of a loader, in memory that its parent reads."""
    if torch.utils.data.get_worker_info() is None:
        return torch.stack(list(images))
    first = images[0]
    storage = first._typed_storage()._new_shared(len(images) * first.numel(), device=first.device)
    return torch.stack(list(images), out=first.new(storage).resize_(len(images), *first.size()))


def _keeping_patches_alone(stock_call: Callable) -> Callable:
    @functools.wraps(stock_call)
    def __call__(self: RandomPatch, img: torch.Tensor) -> torch.Tensor:
        result = stock_call(self, img)
        # After the call: a patch shows what was pasted over it since, as the view that stock keeps does
        if self.patchpool and self.patchpool[-1].untyped_storage().data_ptr() == img.untyped_storage().data_ptr():
            self.patchpool[-1] = self.patchpool[-1].clone()
        return result

    return __call__
