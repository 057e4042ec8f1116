"""From feature maps to attention maps."""

import torch
from fastreid.layers import get_norm
from fastreid.layers.weight_init import weights_init_kaiming
from torch import nn


class AttentionMaker(nn.Module):
    """Scores of ``maps`` foreground attention maps and of the background, for every position.

    The sum of a 1x1 and a 3x3 convolution, batch norm, ReLU (arXiv 2401.06430, soft content branch).
    :func:`foreground` turns the scores into attention.

    Args:
        in_channels: channels of the input.
        maps: foreground maps ``M``; one more, the last, is the background's.
        norm: FastReID's name of the batch norm.

    Shapes:
        ``[B, in_channels, h, w]`` -> ``[B, maps + 1, h, w]``.
    """

    def __init__(self, in_channels: int, maps: int, norm: str = "BN"):
        super().__init__()
        self.conv1x1 = nn.Conv2d(in_channels, maps + 1, 1, bias=False)
        self.conv3x3 = nn.Conv2d(in_channels, maps + 1, 3, padding=1, bias=False)
        self.bn = get_norm(norm, maps + 1)
        self.relu = nn.ReLU(inplace=True)
        self.apply(weights_init_kaiming)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn(self.conv1x1(features) + self.conv3x3(features)))


class AttentionGuidance(nn.Module):
    """Hands the scores of the coarse granularity to the fine one: a 1x1 convolution without bias, ReLU.

    Shapes:
        ``[B, maps + 1, h, w]`` -> ``[B, maps + 1, h, w]``.
    """

    def __init__(self, maps: int):
        super().__init__()
        self.conv = nn.Conv2d(maps + 1, maps + 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.apply(weights_init_kaiming)

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv(scores))


def foreground(scores: torch.Tensor) -> torch.Tensor:
    """Attention of the foreground maps: a softmax over all maps at each position, the background dropped.

    Args:
        scores: ``[B, M + 1, h, w]``, the background last.

    Returns:
        ``[B, M, h, w]``, each value in (0, 1), the sum over the maps at a position at most 1.
    """
    return scores.softmax(dim=1)[:, :-1]
