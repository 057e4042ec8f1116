"""From the maps of a backbone's stages to a class for every cell: background, or a part of the body."""

from collections.abc import Sequence

import torch
from torch import nn


class ParsingBranch(nn.Module):
    """Parsing with features of its own (arXiv 2401.18032): upsampled detail, and the position along the height.

    Without them it classifies the cells of the map that embeddings are pooled from, as BPBreID (arXiv 2211.03679) does.

    Args:
        classifier: ``[B, C, h, w]`` -> logits ``[B, K + 1, h, w]``, class 0 the background.
        upsampling: four maps -> ``[B, C, H / 4, W / 4]``; None for shared features.
        positions: adds the position, ``[B, C, h, w]`` -> the same; None for none.
    """

    def __init__(self, classifier: nn.Module, upsampling: nn.Module | None = None, positions: nn.Module | None = None):
        super().__init__()
        self.upsampling = upsampling
        self.positions = positions
        self.classifier = classifier

    def forward(self, stages: Sequence[torch.Tensor], shared: torch.Tensor) -> torch.Tensor:
        """Logits of each cell.

        Args:
            stages: the backbone's maps, stage 1's first.
            shared: ``[B, C, h, w]``, the map that embeddings are pooled from.

        Returns:
            ``[B, K + 1, H / 4, W / 4]``, or ``[B, K + 1, h, w]`` with shared features.
        """
        features = shared if self.upsampling is None else self.upsampling(stages)
        if self.positions is not None:
            features = self.positions(features)
        return self.classifier(features)
