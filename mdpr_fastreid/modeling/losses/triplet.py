"""Triplet loss mined within the batch."""

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, configurable
from torch import nn

from mdpr_fastreid.modeling.losses.build import LOSS_REGISTRY


@LOSS_REGISTRY.register()
class TripletLoss(nn.Module):
    """Triplet loss over the hardest, or the weighted, pairs of a batch (Hermans et al., arXiv 1703.07737, eq. 5).

    For each anchor: ``max(0, d(anchor, positive) - d(anchor, negative) + margin)``, averaged over the batch. An
    anchor is a positive of itself, at distance 0; an anchor without a negative costs nothing.

    Args:
        margin: the margin; 0 for the soft margin ``log(1 + exp(d_p - d_n))``.
        normalize: whether the distance is ``2 - 2 cos`` instead of the euclidean one.
        hard_mining: the farthest positive and the nearest negative if true; else the means of all positives and of
            all negatives, weighted by the softmax of their distance (of its negative for the negatives).
        scale: weight of the loss.

    Shapes:
        embedding ``[B, D]``, targets ``[B]`` -> scalar.
    """

    takes = "embedding"

    @configurable
    def __init__(self, *, margin: float = 0.3, normalize: bool = False, hard_mining: bool = True, scale: float = 1.0):
        super().__init__()
        self.margin = margin
        self.normalize = normalize
        self.hard_mining = hard_mining
        self.scale = scale

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        tri = cfg.MODEL.LOSSES.TRI
        return {
            "margin": tri.MARGIN,
            "normalize": tri.NORM_FEAT,
            "hard_mining": tri.HARD_MINING,
            "scale": tri.SCALE,
        }

    def forward(self, embedding: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        distances = self._distances(embedding)
        same = targets[:, None] == targets
        if self.hard_mining:
            positive = distances.masked_fill(~same, 0).amax(dim=1)
            negative = distances.masked_fill(same, torch.inf).amin(dim=1)
        else:
            positive = _weighted_mean(distances, distances, same)
            # Without a negative all weights are zero; such an anchor must not count as one at distance zero.
            negative = _weighted_mean(distances, -distances, ~same).masked_fill(same.all(dim=1), torch.inf)
        gap = positive - negative
        losses = (gap + self.margin).clamp_min(0) if self.margin > 0 else F.softplus(gap)
        return losses.mean() * self.scale

    def _distances(self, embedding: torch.Tensor) -> torch.Tensor:
        embedding = embedding.to(torch.promote_types(embedding.dtype, torch.float32))
        if self.normalize:
            embedding = F.normalize(embedding)
        # Differences, not the product of the embeddings: it stays exact for close pairs and under autocast.
        distances = torch.cdist(embedding, embedding, compute_mode="donot_use_mm_for_euclid_dist")
        return distances.square() if self.normalize else distances

    def extra_repr(self) -> str:
        return f"margin={self.margin}, normalize={self.normalize}, hard_mining={self.hard_mining}, scale={self.scale}"


def _weighted_mean(distances: torch.Tensor, scores: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mean of the chosen distances of each row, weighted by the softmax of their scores; 0 where none is chosen."""
    weights = scores.masked_fill(~chosen, torch.finfo(scores.dtype).min).softmax(dim=1) * chosen
    return (distances * weights).sum(dim=1)
