"""Where a cell is in the picture, for parsing: heads are at the top, shoes at the bottom."""

import torch
import torch.nn.functional as F
from torch import nn


class PositionEncoder(nn.Module):
    """PPE (arXiv 2401.18032): adds a learnt embedding of the row to every cell.

    It starts at zero, so that a fresh network computes the same with it and without it. For maps of another height the
    table is interpolated linearly. Table and addition are our choice; the paper's form is not published.

    Args:
        channels: of the maps.
        rows: height of the maps in training.

    Shapes:
        ``[B, channels, h, w]`` -> the same.
    """

    def __init__(self, channels: int, rows: int):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(channels, rows))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        # Of the table's own height this is the table, to the bit
        rows = F.interpolate(self.table[None], size=features.shape[2], mode="linear", align_corners=False)
        return features + rows[..., None]

    def extra_repr(self) -> str:
        channels, rows = self.table.shape
        return f"channels={channels}, rows={rows}"
