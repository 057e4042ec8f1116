"""Fuses the maps of the two branches into one."""

from collections.abc import Sequence

import torch
from fastreid.layers import get_norm
from fastreid.layers.weight_init import weights_init_kaiming
from torch import nn

from mdpr_fastreid.modeling.layers import merged_convolution


class FeatureFusion(nn.Module):
    """Stripes and whole, stage 4 and stage 3, then both branches (arXiv 2401.06430, multi-perspective feature fusion).

    The stripes are put back together along the height and blended; the result is blended with the hard branch's
    global map, the two maps of the soft branch with each other, and the two outcomes with each other. To blend is
    to concatenate, a 1x1 and a 3x3 convolution that keep the channels (without bias), batch norm, ReLU.

    Args:
        embedding_dim: channels ``E`` of the maps that come in.
        norm: FastReID's name of the batch norm.
    """

    def __init__(self, embedding_dim: int, norm: str = "BN"):
        super().__init__()
        self.stripes = _blend(embedding_dim, norm)
        self.hard = _blend(2 * embedding_dim, norm)
        self.soft = _blend(2 * embedding_dim, norm)
        self.output = _blend(4 * embedding_dim, norm)
        self.apply(weights_init_kaiming)

    def forward(
        self, global_map: torch.Tensor, stripe_maps: Sequence[torch.Tensor], map4: torch.Tensor, map3: torch.Tensor
    ) -> torch.Tensor:
        """Fuse the branches.

        Args:
            global_map: ``[B, E, h, w]`` of the hard branch.
            stripe_maps: ``[B, E, h_i, w]`` from head to feet, whose heights add up to ``h``.
            map4: ``[B, E, h, w]`` of stage 4 of the soft branch.
            map3: ``[B, E, h, w]`` of stage 3 of the soft branch.

        Returns:
            ``[B, 4E, h, w]``.
        """
        whole = self.stripes(torch.cat(tuple(stripe_maps), dim=2))
        hard = self.hard(torch.cat([whole, global_map], dim=1))
        soft = self.soft(torch.cat([map4, map3], dim=1))
        return self.output(torch.cat([hard, soft], dim=1))

    def simplify_for_inference(self) -> None:
        """Make the 1x1 and the 3x3 convolution of each block one, in place, by name."""
        for name, (pointwise, conv, *rest) in list(self.named_children()):
            setattr(self, name, nn.Sequential(merged_convolution(pointwise, conv), *rest))


def _blend(channels: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        get_norm(norm, channels),
        nn.ReLU(inplace=True),
    )
