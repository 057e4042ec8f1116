"""The cut of Hiera (Ryali et al., ICML 2023), whose tokens stand in the order of its mask units."""

import copy

import torch
from torch import nn


def is_hiera(model: nn.Module) -> bool:
    """Whether a model of timm's is one."""
    return all(hasattr(model, name) for name in ("unroll", "reroll", "stage_ends"))


def pieces(model: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Trunk, stage 3 and stage 4, which give tokens in the order of mask units."""
    blocks, (_, second, third, last) = list(model.blocks), model.stage_ends
    runs = (blocks[second + 1 : third + 1], blocks[third + 1 : last + 1])
    return _Start(model, blocks[: second + 1]), *(nn.Sequential(*run) for run in runs)


class Rerolled(nn.Module):
    """Tokens in the order of mask units -> ``[B, h, w, C]``.

    Args:
        model: of the tokens.
        stage: the number of the stage that gave them, from 0.
    """

    def __init__(self, model: nn.Module, stage: int):
        super().__init__()
        self.reroll = model.reroll
        self.end = model.stage_ends[stage]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.reroll(tokens, self.end)


class _Start(nn.Module):
    """Patches, positions, and the blocks of stages 1 and 2: the model itself without what comes after them."""

    def __init__(self, model: nn.Module, blocks: list[nn.Module]):
        super().__init__()
        start = copy.copy(model)
        start._modules = {"patch_embed": model.patch_embed, "unroll": model.unroll}
        start._parameters = dict(model._parameters)
        start._buffers = dict(model._buffers)
        self.start = start
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        start = self.start
        return self.blocks(start.unroll(start._pos_embed(start.patch_embed(images))))


class MaskUnits:
    """The layout of the last stage's tokens.

    Args:
        rerolled: of the last stage.
    """

    def __init__(self, rerolled: Rerolled):
        self._rerolled = rerolled

    def to_map(self, tokens: torch.Tensor) -> torch.Tensor:
        """``[B, C, h, w]``."""
        return self._rerolled(tokens).permute(0, 3, 1, 2)
