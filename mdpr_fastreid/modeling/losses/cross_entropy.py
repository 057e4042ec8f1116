"""Cross entropy over identities, with smoothed labels."""

import torch
from fastreid.config import CfgNode, configurable
from torch import nn

from mdpr_fastreid.modeling.losses.build import LOSS_REGISTRY


@LOSS_REGISTRY.register()
class CrossEntropyLoss(nn.Module):
    """Cross entropy with label smoothing, as FastReID computes it (Szegedy et al., CVPR 2016, section 7).

    The target of the true class is ``1 - eps``, that of each other one ``eps / (classes - 1)``. The sum over the
    batch is divided by the number of samples whose loss is not exactly zero.

    Args:
        epsilon: ``eps``; 0 for hard labels, negative for the adaptive kind, where ``eps`` of a sample is
            ``alpha`` times the probability that the model gives to the true class.
        alpha: see ``epsilon``.
        scale: weight of the loss.

    Shapes:
        logits ``[B, classes]``, targets ``[B]`` -> scalar.
    """

    takes = "logits"

    @configurable
    def __init__(self, *, epsilon: float = 0.1, alpha: float = 0.2, scale: float = 1.0):
        super().__init__()
        self.epsilon = epsilon
        self.alpha = alpha
        self.scale = scale

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        ce = cfg.MODEL.LOSSES.CE
        return {"epsilon": ce.EPSILON, "alpha": ce.ALPHA, "scale": ce.SCALE}

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        log_probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=1)
        true = log_probabilities.gather(1, targets[:, None]).squeeze(1)
        others = log_probabilities.sum(dim=1) - true
        epsilon = self.epsilon if self.epsilon >= 0 else self.alpha * true.detach().exp()
        losses = -((1 - epsilon) * true + epsilon / max(logits.size(1) - 1, 1) * others)
        counted = (losses.detach() != 0).sum().clamp_min(1)
        return losses.sum() / counted * self.scale

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon}, alpha={self.alpha}, scale={self.scale}"
