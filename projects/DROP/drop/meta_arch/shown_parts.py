"""Whether the masks of a training ever show each part."""

import logging
from collections.abc import Sequence

import torch

STEPS = 50
"""After so many steps of a process the parts that no mask has shown are named."""

logger = logging.getLogger("fastreid.drop")


class ShownParts:
    """Warns once of parts that no mask of the first training batches shows: their embeddings never learn.

    Args:
        names: of the parts, whose classes are 1 to ``K``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._steps = self._images = 0
        self._shown: torch.Tensor | None = None

    def see(self, classes: torch.Tensor) -> None:
        """Take a batch's target classes ``[B, h, w]`` into account."""
        if self._steps == STEPS:
            return
        parts = torch.arange(1, len(self._names) + 1, device=classes.device, dtype=classes.dtype)
        shown = torch.isin(parts, classes)
        self._shown = shown if self._shown is None else self._shown | shown
        self._steps += 1
        self._images += len(classes)
        if self._steps == STEPS and (
            never := [n for n, seen in zip(self._names, self._shown, strict=True) if not seen]
        ):
            logger.warning(
                f"none of the first {self._images} training images shows {', '.join(never)}: is INPUT.MASK.GROUPS the "
                "grouping of these masks? `mdpr data` counts the parts of all of them"
            )
