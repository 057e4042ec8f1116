"""Activation checkpointing (Chen et al., arXiv 1604.06174) that leaves batch norm statistics as one pass does."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recomputed(module: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """What a module gives, computed again in the backward pass instead of keeping the activations inside.

    Outputs, gradients and buffers are those of the plain call, random layers included.

    Args:
        module: in training mode.
        features: its input, of any shape.
    """
    return checkpoint(
        module, features, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), _keeping_buffers(module))
    )


@contextlib.contextmanager
def _keeping_buffers(module: nn.Module) -> Iterator[None]:
    """Let the module update copies of its buffers: running statistics have seen this batch already."""
    own = [(one, dict(one._buffers)) for one in module.modules() if one._buffers]
    try:
        for one, buffers in own:
            one._buffers.update({name: None if b is None else b.clone() for name, b in buffers.items()})
        yield
    finally:
        for one, buffers in own:
            one._buffers.update(buffers)
