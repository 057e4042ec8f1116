"""Bilinear attention pooling: one vector for each attention map."""

import torch
from fastreid.layers.pooling import GeneralizedMeanPoolingP
from torch import nn

from mdpr_fastreid.modeling.layers.embedding import Embedding


class AttentionPooling(nn.Module):
    """``z_m = GeM(Emb_m(A_m * X))`` for every map ``m`` (arXiv 2401.06430, bilinear attention pooling).

    The maps share one learnable GeM exponent, which starts at 3; each has its own embedding.

    Args:
        in_channels: channels ``C`` of the features.
        embedding_dim: channels ``E`` of each pooled vector.
        maps: attention maps ``M``.
        norm: FastReID's name of the batch norm.

    Shapes:
        features ``[B, C, h, w]``, attention ``[B, M, h, w]`` -> ``[B, M, E]``.
    """

    def __init__(self, in_channels: int, embedding_dim: int, maps: int, norm: str = "BN"):
        super().__init__()
        self.gem = GeneralizedMeanPoolingP()
        self.embeddings = nn.ModuleList(Embedding(in_channels, embedding_dim, norm) for _ in range(maps))

    def forward(self, features: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        attended = (features * attention[:, m : m + 1] for m in range(len(self.embeddings)))
        pooled = [self.gem(embed(x)).flatten(1) for embed, x in zip(self.embeddings, attended, strict=True)]
        return torch.stack(pooled, dim=1)
