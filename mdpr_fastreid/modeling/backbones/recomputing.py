"""Activation checkpointing (Chen et al., arXiv 1604.06174) that leaves batch norm statistics as one pass does."""

import contextlib

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mdpr_fastreid.modeling.buffers import keeping_buffers


def recomputed(module: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """What a module gives, computed again in the backward pass instead of keeping the activations inside.

    Outputs, gradients and buffers are those of the plain call, random layers included.

    Args:
        module: in training mode.
        features: its input, of any shape.
    """
    return checkpoint(
        module, features, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), keeping_buffers(module))
    )
