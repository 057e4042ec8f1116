"""The map that embeddings are pooled from, made of the backbone's stages."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

LAST, ALL, FULL = "last", "all", "full"


class ReIDMap(nn.Module):
    """One map of the four that a backbone's stages give.

    ``last`` is stage 4's. ``all`` joins the channels of all four at the size of stage 3: larger ones by area average,
    smaller ones by bilinear interpolation. ``full`` joins them at the size of stage 1, as BPBreID (arXiv 2211.03679)
    does with HRNet.

    Args:
        mode: ``last``, ``all`` or ``full``.

    Shapes:
        four maps ``[B, C_i, h_i, w_i]`` -> ``[B, C, h, w]``.
    """

    def __init__(self, mode: str = LAST):
        super().__init__()
        self.mode = mode

    def forward(self, stages: Sequence[torch.Tensor]) -> torch.Tensor:
        if self.mode == LAST:
            return stages[-1]
        size = stages[2 if self.mode == ALL else 0].shape[2:]
        return torch.cat([_resized(stage, size) for stage in stages], dim=1)

    def extra_repr(self) -> str:
        return self.mode


def _resized(stage: torch.Tensor, size: torch.Size) -> torch.Tensor:
    if stage.shape[2:] == size:
        return stage
    if stage.shape[2] > size[0]:
        return F.adaptive_avg_pool2d(stage, size)
    return F.interpolate(stage, size, mode="bilinear", align_corners=False)
