"""Position embeddings of weights that were trained with another number of patches."""

import math

import torch
import torch.nn.functional as F


def resized_positions(value: torch.Tensor, prefix: int, grid: tuple[int, int]) -> torch.Tensor:
    """Position embeddings for another grid of patches, bilinearly, as TransReID, CLIP-ReID and PersonViT do it.

    timm's own way, bicubic with antialiasing, gives other numbers.

    Args:
        value: ``[1, prefix + N, C]``, of a grid that is square, or two or three times as high as it is wide.
        prefix: tokens before the patches (class token, registers), whose embeddings stay as they are.
        grid: rows and columns to have.

    Returns:
        ``[1, prefix + rows * columns, C]``, or the value itself if no such grid has ``N`` patches.
    """
    old = _grid_of(value.size(1) - prefix)
    if old is None:
        return value
    patches = value[:, prefix:].double().unflatten(1, old).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=grid, mode="bilinear", align_corners=False)
    return torch.cat([value[:, :prefix], patches.flatten(2).transpose(1, 2).to(value.dtype)], dim=1)


def _grid_of(patches: int) -> tuple[int, int] | None:
    """The rows and columns of so many patches."""
    for ratio in (1, 2, 3):  # no number of patches is of two of them
        columns = math.isqrt(max(0, patches) // ratio)
        if columns and ratio * columns**2 == patches:
            return ratio * columns, columns
    return None
