"""Directions of vectors, for the losses that compare directions."""

import torch


def unit_vectors(vectors: torch.Tensor) -> torch.Tensor:
    """Scale each vector along the last dimension to length 1, in float32 at least.

    A zero vector stays zero and gets no gradient: it has no direction to improve, and dividing by a tiny constant
    instead would hand the optimizer a gradient of the size of that constant's inverse.

    Shapes:
        ``[..., D]`` -> ``[..., D]``.
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    squared = vectors.square().sum(dim=-1, keepdim=True)
    zero = squared == 0
    return vectors * squared.masked_fill(zero, 1).rsqrt().masked_fill(zero, 0)
