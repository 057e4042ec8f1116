"""The map that parsing reads: all stages of the backbone, at the size of the first."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from fastreid.layers import get_norm
from fastreid.layers.weight_init import weights_init_kaiming
from torch import nn

from mdpr_fastreid.modeling.layers import Embedding


class DetailPreservingUpsampling(nn.Module):
    """DPU (arXiv 2401.18032): fuses the stages from the last, which knows most, to the first, which sees most.

    Each stage is reduced to ``channels`` by a 1x1 convolution, batch norm and ReLU, ``R_i``. From the last stage up,
    ``T_i = R_i + up(T_{i+1})``, where ``up`` is bilinear to the size of ``R_i``. The result is a 3x3 convolution, batch
    norm and ReLU of ``T_1``. The paper does not say how stages are fused; this is our choice.

    Args:
        in_channels: of each stage, from the first.
        channels: of the result, ``C_p``.
        norm: FastReID's name of the batch norm.

    Shapes:
        stages ``[B, in_channels[i], h_i, w_i]`` -> ``[B, channels, h_1, w_1]``.
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 128, norm: str = "BN"):
        super().__init__()
        self.reductions = nn.ModuleList(Embedding(width, channels, norm) for width in in_channels)
        self.smooth = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), get_norm(norm, channels), nn.ReLU(inplace=True)
        )
        self.smooth.apply(weights_init_kaiming)

    def forward(self, stages: Sequence[torch.Tensor]) -> torch.Tensor:
        reduced = [reduce(stages[i]) for i, reduce in enumerate(self.reductions)]
        fused = reduced.pop()
        for finer in reversed(reduced):
            fused = finer + F.interpolate(fused, size=finer.shape[2:], mode="bilinear", align_corners=False)
        return self.smooth(fused)
