"""SOLIDER's Swin transformer (Chen et al., CVPR 2023), as a model of timm's with the differences to timm's Swin.

Three of them: windows are padded before they are shifted, a controller stands behind each merging of patches, and
stage 3 has a norm of its own.
"""

import math

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import PatchMerging, SwinTransformer, SwinTransformerBlock
from torch import nn

from mdpr_fastreid.modeling.backbones.timm_models.own_models import own_model


@own_model
def solider_swin_tiny(**kwargs) -> nn.Module:
    """28 million parameters, maps of 768 channels."""
    return _solider(kwargs, embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24))


@own_model
def solider_swin_small(**kwargs) -> nn.Module:
    """49 million parameters, maps of 768 channels."""
    return _solider(kwargs, embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24))


@own_model
def solider_swin_base(**kwargs) -> nn.Module:
    """87 million parameters, maps of 1024 channels."""
    return _solider(kwargs, embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32))


class PaddedBlock(SwinTransformerBlock):
    """A block that pads the map to whole windows first, so that what is shifted and masked is the padded map."""

    def _attn(self, features: torch.Tensor) -> torch.Tensor:
        rows, columns = features.shape[1:3]
        height, width = self.window_size
        padded = F.pad(features, (0, 0, 0, -columns % width, 0, -rows % height))
        return super()._attn(padded)[:, :rows, :columns]


class SemanticController(nn.Module):
    """Scales and shifts channels by how much of the features is to be semantics and how much appearance.

    With ``s = [w, 1 - w]``: ``x * softplus(A s + a) + (B s + b)``. It is trained with the pretrained weights and frozen
    from there on; as initialised it changes nothing.

    Args:
        channels: of the map.
        semantic: ``w`` between 0 and 1; below 0 the map stays as it is.
    """

    def __init__(self, channels: int, semantic: float):
        super().__init__()
        self.scale = nn.Linear(2, channels)
        self.shift = nn.Linear(2, channels)
        self.semantic = semantic
        for entry in self.parameters():
            nn.init.zeros_(entry)
        nn.init.constant_(self.scale.bias, math.log(math.e - 1))
        self.requires_grad_(False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[B, h, w, C]`` -> the same."""
        if self.semantic < 0:
            return features
        return features * F.softplus(self._asked(self.scale)) + self._asked(self.shift)

    def _asked(self, layer: nn.Linear) -> torch.Tensor:
        # Sums instead of a product of matrices: w is a number of the config, with all its digits in every precision
        return layer.weight[:, 0] * self.semantic + layer.weight[:, 1] * (1 - self.semantic) + layer.bias


class ControlledMerging(PatchMerging):
    """A merging of patches with a controller behind it."""

    controller: SemanticController

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[B, h, w, C]`` -> ``[B, ceil(h / 2), ceil(w / 2), 2 C]``."""
        return self.controller(super().forward(features))


def _solider(given: dict, **widths: object) -> nn.Module:
    """timm's Swin with the differences; windows of 7 at every size of images.

    Args:
        given: arguments of timm's, and ``semantic_weight``.
        widths: of this model, which the arguments may change.
    """
    semantic = given.pop("semantic_weight", 0.2)
    model = SwinTransformer(**{**widths, **given}, window_size=7, always_partition=True, strict_img_size=False)
    model.patch_embed.dynamic_img_pad = True
    for stage, entry in zip(model.layers, model.feature_info, strict=True):
        for block in stage.blocks:
            block.__class__ = PaddedBlock
        if isinstance(stage.downsample, PatchMerging):
            stage.downsample.controller = SemanticController(entry["num_chs"], semantic)
            stage.downsample.__class__ = ControlledMerging
    model.norm_stage3 = nn.LayerNorm(model.feature_info[-2]["num_chs"])
    return model
