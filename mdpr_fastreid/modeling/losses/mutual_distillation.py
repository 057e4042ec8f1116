"""Lets two branches teach each other."""

import torch
from fastreid.config import CfgNode, configurable
from torch import nn

from mdpr_fastreid.modeling.losses.build import LOSS_REGISTRY
from mdpr_fastreid.modeling.losses.unit_vectors import unit_vectors


@LOSS_REGISTRY.register()
class MutualDistillationLoss(nn.Module):
    """``-(mean cos(q1(z1), sg(z2)) + mean cos(q2(z2), sg(z1))) / 2`` (arXiv 2401.06430, mutual distillation).

    ``z1`` and ``z2`` are the branches' features, ``q1`` and ``q2`` predictors that look from one branch to the
    other; ``sg`` stops the gradient, which this loss does itself.

    Args:
        scale: weight of the loss.

    Shapes:
        four times ``[B, D]`` -> scalar in ``[-scale, scale]``.
    """

    @configurable
    def __init__(self, *, scale: float = 1.0):
        super().__init__()
        self.scale = scale

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {"scale": cfg.MODEL.MDPR.DISTILL.SCALE}

    def forward(
        self, predicted2: torch.Tensor, feature2: torch.Tensor, predicted1: torch.Tensor, feature1: torch.Tensor
    ) -> torch.Tensor:
        """Compare what each branch predicts of the other with what the other says.

        Args:
            predicted2: ``q1(z1)``.
            feature2: ``z2``, taken as a fixed target.
            predicted1: ``q2(z2)``.
            feature1: ``z1``, taken as a fixed target.
        """
        return -(_mean_cosine(predicted2, feature2) + _mean_cosine(predicted1, feature1)) / 2 * self.scale

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


def _mean_cosine(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (unit_vectors(predicted) * unit_vectors(target.detach())).sum(dim=-1).mean()
