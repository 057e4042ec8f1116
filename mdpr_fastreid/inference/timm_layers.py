"""What folding knows of timm's layers: some do more than their base class, some are made to become another.

Nothing here imports timm: a model has layers of timm's only where timm has been imported.
"""

import contextlib
import sys
from collections.abc import Iterator

import torch
from torch import nn

_REPARAMETERIZED = tuple(f"timm.models.{file}" for file in ("repvit", "fastvit", "byobnet"))
"""Files of models whose blocks timm's ``reparameterize_model`` makes one convolution each, as tests have shown."""


def is_norm_with_activation(module: nn.Module) -> bool:
    """Whether it is timm's batch norm with statistics, with a drop layer and an activation behind it inside."""
    is_one = type(module) in (_layer("BatchNormAct2d"), _layer("FrozenBatchNormAct2d"))
    return is_one and module.running_mean is not None


def after_norm(module: nn.Module) -> nn.Module:
    """What a batch norm with activation computes behind the norm."""
    if isinstance(module.drop, nn.Identity):
        return module.act
    return nn.Sequential(module.drop, module.act)


def is_same_padded_convolution(module: nn.Module) -> bool:
    """Whether it is timm's convolution that pads by the size of its input, as TensorFlow does, and else is plain."""
    return type(module) is _layer("Conv2dSame")


def reparameterized(module: nn.Module) -> nn.Module:
    """The module, in place, with blocks of several branches as one convolution each (MobileOne, RepViT, FastViT).

    Args:
        module: in evaluation mode; only what is inside of it is replaced.
    """
    if not any(type(part).__module__ in _REPARAMETERIZED for part in module.modules()):
        return module
    from timm.utils import reparameterize_model

    dtype = next(module.parameters()).dtype
    # timm makes new layers in the default type
    with _default_dtype(torch.float64):
        reparameterize_model(module.double(), inplace=True)
    return module.to(dtype).requires_grad_(False).eval()


@contextlib.contextmanager
def attention_for_onnx(network: nn.Module) -> Iterator[None]:
    """Let Hiera's attention, of five dimensions, be computed step by step: ONNX's fused one takes four."""
    kind = getattr(sys.modules.get("timm.models.hiera"), "MaskUnitAttention", ())
    fused = [module for module in network.modules() if isinstance(module, kind) and module.fused_attn]
    try:
        for module in fused:
            module.fused_attn = False
        yield
    finally:
        for module in fused:
            module.fused_attn = True


def _layer(name: str) -> type | None:
    return getattr(sys.modules.get("timm.layers"), name, None)


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
