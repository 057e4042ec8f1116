"""The cut of plain vision transformers (ViT, DeiT, CLIP, DINOv2, EVA-02), whose blocks all keep the same tokens."""

import copy

import torch
from torch import nn

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.backbones.timm_models.layouts import CLASS_TOKENS, Tokens

_BEFORE_BLOCKS = ("patch_embed", "pos_drop", "patch_drop", "norm_pre", "rope")


def is_plain(model: nn.Module) -> bool:
    """Whether a model of timm's is a plain vision transformer: one width, prefix tokens, blocks in a row."""
    return all(hasattr(model, name) for name in ("patch_embed", "_pos_embed", "blocks", "num_prefix_tokens"))


def pieces(model: nn.Module, tokens: Tokens, cut: tuple[int, ...]) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Trunk, stage 3 and stage 4 of a plain vision transformer.

    Args:
        model: with ``N`` blocks.
        tokens: that its blocks keep.
        cut: how many blocks are in the trunk, and in trunk and stage 3 together; () for a half and three quarters.

    Raises:
        SettingsError: the cut is not within the blocks.
    """
    blocks, depth = list(model.blocks), len(model.blocks)
    first, second = cut or (depth // 2, 3 * depth // 4)
    if not 0 <= first < second < depth:
        raise SettingsError(
            f"MODEL.BACKBONE.TIMM.CUT {tuple(cut)}: the model has {depth} blocks; give two numbers of blocks, "
            f"0 <= a < b < {depth}"
        )
    runs = (blocks[first:second], blocks[second:])
    if getattr(model, "rope", None) is not None:
        stages = (_RotaryBlocks(run, model, tokens, start) for run, start in zip(runs, (first, second), strict=True))
        return _Embedding(model, blocks[:first]), *stages
    return _Embedding(model, blocks[:first]), *(nn.Sequential(*run) for run in runs)


def tokens_of(model: nn.Module, grids: tuple[tuple[int, int], ...], class_token: str, name: str) -> Tokens:
    """How a plain vision transformer's tokens become a map.

    Args:
        model: of timm's.
        grids: rows and columns of patches, of each size of images.
        class_token: one of ``CLASS_TOKENS``, or "" for the class token alone, or no token where there is none.
        name: of the model, for the error.

    Raises:
        SettingsError: the model has no class token to add or to take; or sizes of images cannot be told apart.
    """
    has_one = getattr(model, "cls_token", None) is not None
    class_token = class_token or ("only" if has_one else "drop")
    if class_token not in CLASS_TOKENS:
        raise SettingsError(f"MODEL.BACKBONE.TIMM.CLASS_TOKEN {class_token!r}: give one of {', '.join(CLASS_TOKENS)}")
    if class_token != "drop" and not has_one:
        raise SettingsError(f"MODEL.BACKBONE.TIMM.CLASS_TOKEN {class_token}: {name} has no class token; set it to drop")
    grids = tuple(dict.fromkeys(grids))
    if len({rows * columns for rows, columns in grids}) < len(grids):
        raise SettingsError(
            f"INPUT.SIZE_TRAIN and INPUT.SIZE_TEST give {name} as many patches in another shape ({grids[0]} and "
            f"{grids[1]}), which cannot be told apart: use one size for both"
        )
    return Tokens(grids, model.num_prefix_tokens, class_token)


class _Embedding(nn.Module):
    """Patches, positions and the first blocks: the model itself without what comes after them."""

    def __init__(self, model: nn.Module, blocks: list[nn.Module]):
        super().__init__()
        start = copy.copy(model)
        # The copy has dicts of its own with the same modules and parameters in them
        kept = {name: child for name, child in model._modules.items() if name in _BEFORE_BLOCKS}
        if not blocks and "rope" in kept:
            kept["rope"] = None  # what gets no gradient must not be there
        start._modules = {**kept, "blocks": nn.Sequential(*blocks), "norm": nn.Identity()}
        start._parameters = dict(model._parameters)
        start._buffers = dict(model._buffers)
        self.start = start

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.start.forward_features(images)


class _RotaryBlocks(nn.Module):
    """Blocks of EVA-02 and RoPE-ViT, which turn queries and keys by angles of the position.

    Args:
        blocks: of the model.
        model: with the angles.
        tokens: that the blocks keep.
        start: the first block's number in the model.
    """

    def __init__(self, blocks: list[nn.Module], model: nn.Module, tokens: Tokens, start: int):
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.rope = model.rope
        self._tokens = tokens
        # RoPE-ViT mixed (Heo et al., ECCV 2024) learns angles of each block, [depth, ...]
        self._start = start if getattr(model, "rope_mixed", False) else None
        # With one size of images, the model has computed the angles when it was built
        self._is_fixed = hasattr(model.rope, "feat_shape") and not model.dynamic_img_size

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        angles = self.rope.get_embed() if self._is_fixed else self.rope.get_embed(shape=self._tokens.grid(tokens))
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, rope=angles if self._start is None else angles[self._start + number])
        return tokens
