"""The soft content branch: a person read through learned attention at two granularities."""

from typing import NamedTuple

import torch
from torch import nn

from mdpr_fastreid.modeling.layers import AttentionGuidance, AttentionMaker, AttentionPooling, Embedding, foreground


class AttentionMaps(NamedTuple):
    """Foreground attention, each value in (0, 1)."""

    granularity4: torch.Tensor
    """``[B, M, h, w]``, from stage 4."""
    granularity3: torch.Tensor
    """``[B, M, h, w]``, from stage 3."""


class PooledAttention(NamedTuple):
    """One vector for each attention map, before they are concatenated."""

    granularity4: torch.Tensor
    """``[B, M, E]``, from stage 4."""
    granularity3: torch.Tensor
    """``[B, M, E]``, from stage 3."""


class SoftContent(NamedTuple):
    """What the soft content branch sees; what was not asked for is None."""

    map4: torch.Tensor | None
    """``[B, E, h, w]``, stage 4 embedded."""
    map3: torch.Tensor | None
    """``[B, E, h, w]``, stage 3 embedded."""
    attention: AttentionMaps | None
    pooled: PooledAttention | None


class SoftContentBranch(nn.Module):
    """Embeds stages 3 and 4, and pools each through its own attention maps (arXiv 2401.06430, soft content branch).

    Args:
        channels3: channels of stage 3.
        channels4: channels of stage 4.
        embedding_dim: channels ``E`` of the embedded maps and of each pooled vector.
        maps: foreground attention maps ``M`` at each granularity.
        guided: whether the scores of stage 4 are shown to the attention maker of stage 3.
        norm: FastReID's name of the batch norm.
    """

    def __init__(
        self, channels3: int, channels4: int, embedding_dim: int, maps: int, guided: bool = True, norm: str = "BN"
    ):
        super().__init__()
        self.embedding4 = Embedding(channels4, embedding_dim, norm)
        self.refine3 = Embedding(channels3, channels3, norm)
        self.embedding3 = Embedding(channels3, embedding_dim, norm)
        self.attention_maker4 = AttentionMaker(channels4, maps, norm)
        self.guidance = AttentionGuidance(maps) if guided else None
        self.attention_maker3 = AttentionMaker(channels3 + (maps + 1 if guided else 0), maps, norm)
        self.pooling3 = AttentionPooling(channels3, embedding_dim, maps, norm)
        self.pooling4 = AttentionPooling(channels4, embedding_dim, maps, norm)

    def forward(
        self,
        x3: torch.Tensor,
        x4: torch.Tensor | None,
        *,
        map4: bool = True,
        map3: bool = True,
        attention: bool = True,
    ) -> SoftContent:
        """Read the maps of stages 3 and 4.

        Args:
            x3: ``[B, channels3, h, w]``.
            x4: ``[B, channels4, h, w]``; None where only ``map3`` is wanted.
            map4: whether the embedded map of stage 4 is wanted.
            map3: whether the embedded map of stage 3 is wanted.
            attention: whether attention maps and what is pooled through them are wanted.
        """
        refined3 = self.refine3(x3) if map3 or attention else None
        maps = self.attention(x3, x4) if attention else None
        return SoftContent(
            map4=self.embedding4(x4) if map4 else None,
            map3=self.embedding3(refined3) if map3 else None,
            attention=maps,
            pooled=PooledAttention(
                self.pooling4(x4, maps.granularity4),
                self.pooling3(refined3, maps.granularity3),
            )
            if maps
            else None,
        )

    def attention(self, x3: torch.Tensor, x4: torch.Tensor) -> AttentionMaps:
        """Foreground attention maps, ``[B, M, h, w]`` at both granularities."""
        scores4 = self.attention_maker4(x4)
        if self.guidance is not None:
            x3 = torch.cat([x3, self.guidance(scores4)], dim=1)
        return AttentionMaps(foreground(scores4), foreground(self.attention_maker3(x3)))
