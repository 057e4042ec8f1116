"""How deep in a backbone a parameter lies: what learning rates that fall with depth go by."""

from collections.abc import Sequence

from fastreid.modeling.backbones.vision_transformer import VisionTransformer
from torch import nn

from mdpr_fastreid.modeling.backbones.stages import blocks_in_order

_VIT_STEM = ("patch_embed.", "cls_token", "pos_embed")


def parameter_depths(backbone: nn.Module) -> dict[str, int] | None:
    """Depth of each parameter of a backbone that is trained, by name.

    The stem has depth 0, the first block 1; what comes after the last block is as deep as that. timm's models say
    themselves what their blocks are (``group_matcher``): a downsampling is mostly one with the block after it.

    Args:
        backbone: one of timm's, one of FastReID's with a stem and four stages, or FastReID's vision transformer.

    Returns:
        None for any other, whose order is not known.
    """
    # What is frozen, as a controller or a norm that is not used, would count as a layer
    names = [name for name, parameter in backbone.named_parameters() if parameter.requires_grad]
    if hasattr(backbone, "group_matcher"):
        return _as_timm_says(backbone, names)
    if isinstance(backbone, VisionTransformer):
        return _by_blocks(names, _VIT_STEM, [f"blocks.{index}." for index in range(len(backbone.blocks))])
    known = blocks_in_order(backbone)
    return None if known is None else _by_blocks(names, *known)


def _as_timm_says(backbone: nn.Module, names: Sequence[str]) -> dict[str, int] | None:
    try:
        from timm.models._manipulate import group_with_matcher
    except ImportError:  # a private module: another version of timm may have it elsewhere
        return None
    # To some families this norm is a part of the classifier, which would be one layer more
    norm = getattr(backbone, "last_norm", "")
    last = [name for name in names if norm and name.startswith(f"{norm}.")]
    others = [(name, None) for name in names if name not in last]
    depths = group_with_matcher(others, backbone.group_matcher(coarse=False), reverse=True)
    return depths | dict.fromkeys(last, max(depths.values(), default=0))


def _by_blocks(names: Sequence[str], stem: tuple[str, ...], blocks: Sequence[str]) -> dict[str, int]:
    depths = {}
    for name in names:
        inside = [depth for depth, block in enumerate(blocks, start=1) if name.startswith(block)]
        depths[name] = inside[0] if inside else 0 if name.startswith(stem) else len(blocks)
    return depths
