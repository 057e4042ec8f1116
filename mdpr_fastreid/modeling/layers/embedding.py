"""The block that MDPR embeds feature maps with."""

import torch
from fastreid.layers import get_norm
from fastreid.layers.weight_init import weights_init_kaiming
from torch import nn


class Embedding(nn.Module):
    """``Emb(a->b)`` of MDPR: a 1x1 convolution without bias, batch norm, ReLU (arXiv 2401.06430, section 3.2).

    Args:
        in_channels: channels ``a`` of the input.
        out_channels: channels ``b`` of the output.
        norm: FastReID's name of the batch norm, as in ``MODEL.BACKBONE.NORM``.

    Shapes:
        ``[B, in_channels, h, w]`` -> ``[B, out_channels, h, w]``.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str = "BN"):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = get_norm(norm, out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.apply(weights_init_kaiming)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn(self.conv(features)))
