"""Distances within a batch, and the hardest triplets in it."""

from typing import NamedTuple

import torch

_SMALLEST = 1e-12
"""Below the root of a distance: the gradient of two embeddings that coincide is 0 and not infinite."""


class Triplets(NamedTuple):
    """One triplet for each sample of a batch, as indices into it, so that several networks can be asked about it."""

    positives: torch.Tensor
    """``[B]`` int64."""
    negatives: torch.Tensor
    """``[B]`` int64."""
    valid: torch.Tensor
    """``[B]`` bool, whether the anchor has a positive and a negative; else both indices mean nothing."""


def squared_distances(embedding: torch.Tensor, normalize: bool = False) -> torch.Tensor:
    """``D(i, j) = sum (e_i - e_j)^2``, of embeddings as they are, in float32 at least.

    Args:
        embedding: ``[B, C]``.
        normalize: whether to divide by the mean over all pairs of the batch, which gets no gradient: what networks of
            other widths and scales can be compared by.

    Returns:
        ``[B, B]``, with 0 on the diagonal.
    """
    return _over_mean(_squared(embedding), normalize)


def distances(embedding: torch.Tensor, normalize: bool = False) -> torch.Tensor:
    """``d(i, j) = sqrt(D(i, j) + 1e-12)``, as :func:`squared_distances` has the rest."""
    return _over_mean((_squared(embedding) + _SMALLEST).sqrt(), normalize)


def hardest_triplets(between: torch.Tensor, targets: torch.Tensor) -> Triplets:
    """For each anchor the farthest other sample of its identity, and the nearest of another (arXiv 1703.07737, eq. 5).

    Args:
        between: distances ``[B, B]``; they get no gradient from this.
        targets: ``[B]`` identities.

    Returns:
        Indices; of several equally far the first.
    """
    between = between.detach()
    same = targets[:, None] == targets
    others = same & ~torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    positives = between.masked_fill(~others, -torch.inf).argmax(dim=1)
    negatives = between.masked_fill(same, torch.inf).argmin(dim=1)
    return Triplets(positives, negatives, others.any(dim=1) & ~same.all(dim=1))


def _squared(embedding: torch.Tensor) -> torch.Tensor:
    embedding = embedding.to(torch.promote_types(embedding.dtype, torch.float32))
    # Differences, not the product of the embeddings: it stays exact for close pairs
    return torch.cdist(embedding, embedding, compute_mode="donot_use_mm_for_euclid_dist").square()


def _over_mean(between: torch.Tensor, normalize: bool) -> torch.Tensor:
    if not normalize:
        return between
    pairs = len(between) * (len(between) - 1)
    mean = (between.detach().sum() - between.detach().diagonal().sum()) / max(pairs, 1)
    return between / mean.clamp_min(torch.finfo(between.dtype).tiny)
