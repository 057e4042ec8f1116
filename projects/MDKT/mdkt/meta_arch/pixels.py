"""Pixels as a backbone wants them."""

import torch
from torch import nn


class PixelNormalization(nn.Module):
    """``(x - mean) / std``, per channel.

    Args:
        mean: per channel, RGB, in 0 to 255.
        std: likewise.

    Shapes:
        ``[B, 3, H, W]`` -> the same.
    """

    def __init__(self, mean: list[float], std: list[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std
