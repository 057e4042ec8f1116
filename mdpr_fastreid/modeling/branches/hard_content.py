"""The hard content branch: a person read as uniform horizontal stripes."""

from typing import NamedTuple

import torch
from torch import nn

from mdpr_fastreid.modeling.layers import Embedding


class HardContent(NamedTuple):
    """What the hard content branch sees; what was not asked for is None."""

    global_map: torch.Tensor | None
    """``[B, E, h, w]``, the whole person."""
    stripe_maps: tuple[torch.Tensor, ...] | None
    """``P`` maps ``[B, E, h_i, w]`` from head to feet; the heights add up to ``h`` and differ by at most one."""


class HardContentBranch(nn.Module):
    """Embeds the whole map and each of ``P`` horizontal stripes (arXiv 2401.06430, hard content branch).

    Where ``P`` does not divide the height, the upper stripes are one row taller, so that no row is lost.

    Args:
        in_channels: channels of the last stage.
        embedding_dim: channels ``E`` of the embedded maps.
        parts: number of stripes ``P``.
        norm: FastReID's name of the batch norm.
    """

    def __init__(self, in_channels: int, embedding_dim: int, parts: int, norm: str = "BN"):
        super().__init__()
        self.global_embedding = Embedding(in_channels, embedding_dim, norm)
        self.stripe_embeddings = nn.ModuleList(Embedding(in_channels, embedding_dim, norm) for _ in range(parts))

    def forward(self, features: torch.Tensor, *, global_map: bool = True, stripe_maps: bool = True) -> HardContent:
        """Embed the map of the branch's last stage.

        Args:
            features: ``[B, in_channels, h, w]``.
            global_map: whether the map of the whole person is wanted.
            stripe_maps: whether the stripes' maps are wanted.

        Raises:
            ValueError: the map has fewer rows than there are stripes.
        """
        return HardContent(
            self.global_embedding(features) if global_map else None,
            self._stripes(features) if stripe_maps else None,
        )

    def _stripes(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts, rows = len(self.stripe_embeddings), features.size(2)
        if parts > rows:
            raise ValueError(
                f"cannot cut {rows} rows into {parts} stripes: lower MODEL.MDPR.PARTS or give taller images"
            )
        stripes = features.tensor_split(parts, dim=2)
        return tuple(embed(stripe) for embed, stripe in zip(self.stripe_embeddings, stripes, strict=True))
