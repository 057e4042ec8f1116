"""Patches that overlap (He et al., TransReID, ICCV 2021), in any plain vision transformer of timm's."""

import torch
from timm.layers import PatchEmbed
from torch import nn

from mdpr_fastreid.errors import SettingsError

_KEY = "MODEL.BACKBONE.STRIDE_SIZE"


class OverlappingPatches(PatchEmbed):
    """timm's embedding of patches, with a stride smaller than a patch."""

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches; pixels at the end that fill no patch are left out."""
        sizes = zip(img_size, self.patch_size, self.proj.stride, strict=True)
        return tuple((size - patch) // stride + 1 for size, patch, stride in sizes)


def overlap_patches(model: nn.Module, stride: tuple[int, int], name: str) -> None:
    """Let patches begin every ``stride`` pixels, in place; there is a position embedding for each of them.

    Args:
        model: a plain vision transformer.
        stride: rows and columns, at most those of a patch.
        name: of the model, for the error.

    Raises:
        SettingsError: the stride leaves gaps between patches, or the model cannot have other patches.
    """
    patches = model.patch_embed
    if type(patches) is not PatchEmbed or getattr(model, "rope", None) is not None or model.pos_embed is None:
        raise SettingsError(
            f"{_KEY} {tuple(stride)}: the patches of {name} cannot overlap; leave it at (16, 16), which changes nothing"
        )
    if not all(1 <= step <= size for step, size in zip(stride, patches.patch_size, strict=True)):
        raise SettingsError(
            f"{_KEY} {tuple(stride)} leaves gaps between patches of {patches.patch_size[0]} x {patches.patch_size[1]} "
            "pixels: give at most these"
        )
    prefix = model.pos_embed.size(1) - patches.num_patches
    patches.__class__ = OverlappingPatches
    patches.proj.stride = tuple(stride)
    patches.grid_size = patches.dynamic_feat_size(patches.img_size)
    patches.num_patches = patches.grid_size[0] * patches.grid_size[1]
    positions = torch.empty(1, prefix + patches.num_patches, model.pos_embed.size(2))
    model.pos_embed = nn.Parameter(nn.init.trunc_normal_(positions, std=0.02))
