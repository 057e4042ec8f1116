"""The bank of part embeddings that the triplet loss compares a batch with."""

import torch
from torch import nn

from mdpr_fastreid.modeling.all_processes import gathered, has_all_rows


class PartMemory(nn.Module):
    """The part embeddings of the last images, a ring in which the oldest entry is overwritten first (PEMB).

    An entry that was never written has no visible part, which keeps it out of every comparison; so the bank is used as
    it is from the first step, and nothing has to be counted on the host. The loss of a step is computed before the step
    is stored. With several processes all of them store the batches of all, and so hold equal banks.

    Everything is in the state dict, so that a resumed run is the uninterrupted one; weights that training starts from,
    or that are evaluated, bring no memory along.

    Args:
        size: entries ``N``; 0 for none.
        parts: parts ``K`` of an image.
        dim: length ``E`` of a part's embedding.

    Attributes:
        parts: ``[N, K, E]``.
        targets: ``[N]`` int64, the identities; -1 in entries never written.
        visibility: ``[N, K]``, 0 to 1.
        position: the entry that is written next, ``[]`` int64.
    """

    training_state = ("parts", "targets", "visibility", "position")
    """See :func:`mdpr_fastreid.weights.fit_to`."""

    def __init__(self, size: int, parts: int, dim: int):
        super().__init__()
        self.register_buffer("parts", torch.zeros(size, parts, dim))
        self.register_buffer("targets", torch.full((size,), -1))
        self.register_buffer("visibility", torch.zeros(size, parts))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def store(self, parts: torch.Tensor, targets: torch.Tensor, visibility: torch.Tensor | None = None) -> None:
        """Write a batch over the oldest entries; of a batch larger than the bank, its last images.

        Args:
            parts: ``[B, K, E]``; detached here. Every process brings equally many.
            targets: ``[B]``.
            visibility: ``[B, K]``, bool or 0 to 1; None: every part is visible.
        """
        size = len(self.parts)
        if size == 0:
            return
        if visibility is None:
            visibility = self.visibility.new_ones(parts.shape[:2])
        buffers = (self.parts, self.targets, self.visibility)
        batch = [_gathered(new.to(old.dtype)) for new, old in zip((parts, targets, visibility), buffers, strict=True)]
        images = len(batch[0])
        slots = torch.arange(max(0, images - size), images, device=self.position.device).add_(self.position) % size
        for buffer, rows in zip(buffers, batch, strict=True):
            buffer.index_copy_(0, slots, rows[-size:])
        self.position.add_(images).remainder_(size)

    def extra_repr(self) -> str:
        size, parts, dim = self.parts.shape
        return f"size={size}, parts={parts}, dim={dim}"


def _gathered(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, in the order of their ranks."""
    return rows if has_all_rows() else gathered(rows).flatten(0, 1)
