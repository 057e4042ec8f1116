"""The vision transformer of TransReID-SSL (Luo et al., arXiv 2111.12084) with its convolutional stem."""

import torch
from fastreid.layers import get_norm
from fastreid.layers.batch_norm import IBN
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mdpr_fastreid.modeling.backbones.timm_models.own_models import own_model

_STEM = 64
"""Channels of the stem."""


@own_model
def transreid_ssl_ics_small(**kwargs) -> nn.Module:
    """22 million parameters, tokens of 384 channels."""
    return VisionTransformer(**{**_ICS, "embed_dim": 384, "num_heads": 6, **kwargs})


@own_model
def transreid_ssl_ics_base(**kwargs) -> nn.Module:
    """86 million parameters, tokens of 768 channels."""
    return VisionTransformer(**{**_ICS, "embed_dim": 768, "num_heads": 12, **kwargs})


class ConvolutionalStem(PatchEmbed):
    """Three convolutions with instance and batch norm (ICS), then patches of 8 x 8 of their half-size map.

    Images of ``patch_size`` 16 have the patches that they would have without it.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.conv = nn.Sequential(
            nn.Conv2d(self.proj.in_channels, _STEM, 7, stride=2, padding=3, bias=False),
            IBN(_STEM, "BN"),
            nn.ReLU(inplace=True),
            nn.Conv2d(_STEM, _STEM, 3, padding=1, bias=False),
            IBN(_STEM, "BN"),
            nn.ReLU(inplace=True),
            nn.Conv2d(_STEM, _STEM, 3, padding=1, bias=False),
            get_norm("BN", _STEM),
            nn.ReLU(inplace=True),
        )
        half = tuple(size // 2 for size in self.patch_size)
        self.proj = nn.Conv2d(_STEM, self.proj.out_channels, half, stride=half)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``[B, 3, H, W]`` -> ``[B, h * w, C]``, or ``[B, h, w, C]`` in a model for several sizes."""
        patches = self.proj(self.conv(images))
        return patches.flatten(2).transpose(1, 2) if self.flatten else patches.permute(0, 2, 3, 1)


_ICS = {"patch_size": 16, "depth": 12, "embed_layer": ConvolutionalStem}
