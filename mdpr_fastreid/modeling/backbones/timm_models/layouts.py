"""How a stage of a network stores its map, and the ``[B, C, h, w]`` that MDPR and FastReID's heads read."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

CLASS_TOKENS = ("add", "drop", "only")
"""What becomes of a class token: it is added to every position, left out, or the only position of the map."""


@dataclass(frozen=True)
class ChannelsFirst:
    """``[B, C, h, w]``, as convolutional networks have it."""

    def to_map(self, features: torch.Tensor) -> torch.Tensor:
        """The map itself."""
        return features

    def resized(self, features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Features with as many rows and columns as others have, bilinearly."""
        return F.interpolate(features, size=like.shape[2:], mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class ChannelsLast:
    """``[B, h, w, C]``, as Swin has it."""

    def to_map(self, features: torch.Tensor) -> torch.Tensor:
        """``[B, C, h, w]``."""
        return features.permute(0, 3, 1, 2)

    def resized(self, features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Features with as many rows and columns as others have, bilinearly."""
        channels_first = features.permute(0, 3, 1, 2)
        size = like.shape[1:3]
        return F.interpolate(channels_first, size=size, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Tokens:
    """``[B, prefix + h * w, C]``, as a vision transformer has it: a class token, registers, then patches in rows."""

    grids: tuple[tuple[int, int], ...]
    """Rows and columns of patches, of training's images and of the test's."""
    prefix: int
    """Tokens before the patches, of which the first is the class token if there is one."""
    class_token: str
    """One of :data:`CLASS_TOKENS`."""

    def to_map(self, features: torch.Tensor) -> torch.Tensor:
        """``[B, C, h, w]``; ``[B, C, 1, 1]`` of the class token only."""
        if self.class_token == "only":
            return features[:, 0, :, None, None]
        rows, columns = self.grid(features)
        patches = features[:, self.prefix :]
        if self.class_token == "add":
            patches = patches + features[:, :1]
        return patches.transpose(1, 2).unflatten(2, (rows, columns))

    def grid(self, features: torch.Tensor) -> tuple[int, int]:
        """Rows and columns of these patches."""
        if len(self.grids) == 1:
            return self.grids[0]
        return next(grid for grid in self.grids if grid[0] * grid[1] == features.size(1) - self.prefix)

    def resized(self, features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """The features themselves: every block keeps the number of patches."""
        return features


Layout = ChannelsFirst | ChannelsLast | Tokens


class MapView(nn.Module):
    """The map that a stage gives: normalised, then channels first.

    Args:
        norm: a layer norm of the stage's own layout, or None.
        to_map: from the stage's layout to ``[B, C, h, w]``.
    """

    def __init__(self, norm: nn.Module | None, to_map: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.norm = norm
        self.to_map = to_map

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The stage's output -> ``[B, C, h, w]``."""
        return self.to_map(features if self.norm is None else self.norm(features))


class AtSizeOfInput(nn.Module):
    """A last stage of stride 2 whose map is enlarged to that of the stage before, bilinearly.

    Args:
        stage: gives fewer rows and columns than it takes.
        layout: of what it gives.
        seen: makes of what it takes something of that layout.
    """

    def __init__(self, stage: nn.Module, layout: Layout, seen: nn.Module | None = None):
        super().__init__()
        self.stage = stage
        self.layout = layout
        self.seen = nn.Identity() if seen is None else seen

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The stage's output, with the rows and columns of its input."""
        return self.layout.resized(self.stage(features), self.seen(features))
