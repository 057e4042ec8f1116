"""The loss of the pixel classifier, and its targets."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

from mdpr_fastreid.data.masks import UNLABELLED

UNKNOWN = UNLABELLED
"""The target of a cell of which no mask says anything."""


class ParsingLoss(nn.Module):
    """``mean over cells of -sum_c t_c log P_c`` with ``t = (1 - eps) onehot + eps / classes`` (arXiv 2211.03679).

    Cells whose target is ``UNKNOWN`` are left out. A batch without any other costs 0.

    Args:
        epsilon: ``eps``, the label smoothing.
        scale: weight of the loss.

    Shapes:
        logits ``[B, classes, h, w]``, targets ``[B, h, w]`` of any integer type -> scalar.
    """

    def __init__(self, *, epsilon: float = 0.1, scale: float = 1.0):
        super().__init__()
        self.epsilon = epsilon
        self.scale = scale

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        total = F.cross_entropy(
            logits.to(torch.promote_types(logits.dtype, torch.float32)),
            targets.long(),
            ignore_index=UNKNOWN,
            label_smoothing=self.epsilon,
            reduction="sum",
        )
        return total / (targets != UNKNOWN).sum().clamp_min(1) * self.scale

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon}, scale={self.scale}"


def part_targets(masks: torch.Tensor, size: tuple[int, int], classes: int) -> torch.Tensor:
    """The commonest class of the pixels that each cell of a map covers.

    Of classes equally common it is the lowest, and any class rather than ``UNKNOWN``. Where the map's size does not
    divide the mask's, cells cover the windows of adaptive average pooling, which overlap.

    Args:
        masks: ``[B, H, W]`` uint8, classes 0 to ``classes - 1`` or ``UNKNOWN``.
        size: height and width of the map, ``(h, w)``.
        classes: parts and background, ``K + 1``.

    Returns:
        ``[B, h, w]`` uint8.
    """
    most = _areas(masks == 0, size)
    targets = masks.new_zeros(most.shape)
    for label in (*range(1, classes), UNKNOWN):
        area = _areas(masks == label, size)
        targets.masked_fill_(area > most, label)
        most = torch.maximum(most, area)
    return targets


def _areas(chosen: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """How much of each cell's window is chosen: ``[B, H, W]`` bool -> ``[B, h, w]``, in pixels or as a share."""
    (height, width), (h, w) = chosen.shape[1:], size
    rows, columns = height // h, width // w
    if (rows * h, columns * w) != (height, width) or rows > 255:
        return F.adaptive_avg_pool2d(chosen.float(), size)
    # Sums of slices in eight bits: several times as fast as any pooling
    lines = chosen.view(torch.uint8).reshape(-1, h, rows, width)
    lines = functools.reduce(torch.add, lines.unbind(dim=2))
    cells = lines.view(-1, h, w, columns).to(torch.int32 if rows * columns > 255 else torch.uint8)
    return functools.reduce(torch.add, cells.unbind(dim=3))


def target_visibility(targets: torch.Tensor, parts: int, min_cells: int = 1) -> torch.Tensor:
    """The parts that a map of classes has; none where nothing is known.

    Args:
        targets: ``[B, h, w]`` of any integer type: 0 for the background, ``k`` for part ``k``, or ``UNKNOWN``.
        parts: ``K``.
        min_cells: how many cells make a part visible.

    Returns:
        ``[B, K]`` bool.
    """
    cells = torch.stack([(targets == part).sum(dim=(1, 2)) for part in range(1, parts + 1)], dim=1)
    return cells >= min_cells
