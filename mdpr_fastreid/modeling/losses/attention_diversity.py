"""Keeps the attention maps of one granularity from looking at the same thing."""

import torch
from fastreid.config import CfgNode, configurable
from torch import nn

from mdpr_fastreid.modeling.losses.build import LOSS_REGISTRY
from mdpr_fastreid.modeling.losses.unit_vectors import unit_vectors


@LOSS_REGISTRY.register()
class AttentionDiversityLoss(nn.Module):
    """``sum over map pairs i < j of the batch mean of cos(z_i, z_j)`` (arXiv 2401.06430, attention diversity).

    With unit vectors ``u_m`` it is ``(|sum u_m|^2 - sum |u_m|^2) / 2``, so no pair is ever formed.

    Args:
        scale: weight of the loss.

    Shapes:
        ``[B, M, E]``, the vector pooled through each map -> scalar; 0 for one map.
    """

    @configurable
    def __init__(self, *, scale: float = 1.0):
        super().__init__()
        self.scale = scale

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {"scale": cfg.MODEL.MDPR.ATTENTION.DIVERSITY_SCALE}

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        units = unit_vectors(pooled)
        all_pairs = units.sum(dim=1).square().sum(dim=-1)
        same = units.square().sum(dim=(1, 2))
        return ((all_pairs - same) / 2).mean() * self.scale

    def extra_repr(self) -> str:
        return f"scale={self.scale}"
