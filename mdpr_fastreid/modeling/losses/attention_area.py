"""Keeps attention maps small."""

import torch
from fastreid.config import CfgNode, configurable
from torch import nn

from mdpr_fastreid.modeling.losses.build import LOSS_REGISTRY


@LOSS_REGISTRY.register()
class AttentionAreaLoss(nn.Module):
    """``beta * sum(A) / B``: the area under the attention maps of an image, averaged over the batch (arXiv 2401.06430).

    Args:
        scale: the paper's ``beta``, 0.001 there.

    Shapes:
        ``[B, M, h, w]`` -> scalar.
    """

    @configurable
    def __init__(self, *, scale: float = 0.001):
        super().__init__()
        self.scale = scale

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {"scale": cfg.MODEL.MDPR.ATTENTION.AREA_SCALE}

    def forward(self, attention: torch.Tensor) -> torch.Tensor:
        # A sum over thousands of values leaves float16's range.
        total = attention.sum(dtype=torch.promote_types(attention.dtype, torch.float32))
        return total / attention.size(0) * self.scale

    def extra_repr(self) -> str:
        return f"scale={self.scale}"
