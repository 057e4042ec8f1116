"""Which part of a person each cell of a map shows."""

import torch
from fastreid.layers import get_norm
from torch import nn


class PixelClassifier(nn.Module):
    """Batch norm and a 1x1 convolution to logits of the background, class 0, and the parts (arXiv 2211.03679).

    It computes in the type of its weights, under autocast too: the pooling weights are its probabilities.

    Args:
        channels: of the map.
        classes: parts and background, ``K + 1``.
        norm: FastReID's name of the batch norm.

    Shapes:
        ``[B, channels, h, w]`` -> logits ``[B, K + 1, h, w]``.
    """

    def __init__(self, channels: int, classes: int, norm: str = "BN"):
        super().__init__()
        self.bn = get_norm(norm, channels)
        self.classifier = nn.Conv2d(channels, classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return self.classifier(self.bn(features.to(self.classifier.weight.dtype)))
