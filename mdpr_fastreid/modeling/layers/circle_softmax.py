"""The circle-loss margin on class logits, without a look at the data from the host."""

import torch
from fastreid.layers.any_softmax import Linear


class CircleSoftmax(Linear):
    """Circle loss with class-level labels (Sun et al., CVPR 2020, eq. 6) on cosine logits.

    Computes what FastReID's layer of this name computes. That one selects rows by index, which makes the
    host wait for the GPU at every head; this one selects by mask.

    Args of ``forward``:
        logits: cosines ``[B, classes]``.
        targets: ``[B]``; -1 marks a sample that belongs to no class here.

    Returns:
        ``[B, classes]``, scaled.
    """

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        # Half precision cannot hold a cosine to the digits that the scale of 64 then magnifies.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        cosines = logits.detach()
        positive = (1 - cosines + self.m).clamp_min(0) * (logits - (1 - self.m))
        negative = (cosines + self.m).clamp_min(0) * (logits - self.m)
        classes = torch.arange(logits.size(1), device=logits.device)
        return torch.where(classes == targets[:, None], positive, negative) * self.s
