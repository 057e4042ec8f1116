"""Weights of other implementations under timm's names, their values rearranged where names are not enough.

A new one is an entry of :data:`TRANSLATIONS`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch

from mdpr_fastreid.weights.architectures import has

Change = Callable[[torch.Tensor], torch.Tensor]


class Rule(NamedTuple):
    """What becomes of names that begin with a pattern."""

    pattern: str
    name: str | Callable[[re.Match], str]
    """What stands for the pattern, as ``re.sub`` takes it."""
    change: Change | None = None
    """What becomes of the values."""


class Translation(NamedTuple):
    """From one implementation to timm's."""

    marks: tuple[str, ...]
    """Patterns that names begin with, all of which such a file has."""
    rules: tuple[Rule, ...]
    """The first that fits a name is applied; a name that none fits stays as it is."""


def _one_later(match: re.Match) -> str:
    """timm's Swin merges patches at the beginning of a stage, others at the end of the one before."""
    return f"layers.{int(match[1]) + 1}.downsample."


def _by_place(value: torch.Tensor) -> torch.Tensor:
    """The inputs of a merging of 2 x 2 patches, from ``[channel, row, column]`` to ``[column, row, channel]``."""
    return value.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)


def _transposed(value: torch.Tensor) -> torch.Tensor:
    return value.T


def _as_token(value: torch.Tensor) -> torch.Tensor:
    return value.reshape(1, 1, -1)


def _as_batch(value: torch.Tensor) -> torch.Tensor:
    return value[None]


def _as_cameras(value: torch.Tensor) -> torch.Tensor:
    return value[:, None]


_SOLIDER_BLOCK = r"stages\.(\d+)\.blocks\.(\d+)\."
_BLOCK = r"layers.\1.blocks.\2."

SOLIDER = Translation(
    (r"stages\.0\.blocks\.0\.attn\.w_msa\.",),
    (
        Rule(r"patch_embed\.projection\.", "patch_embed.proj."),
        Rule(rf"{_SOLIDER_BLOCK}attn\.w_msa\.", rf"{_BLOCK}attn."),
        Rule(rf"{_SOLIDER_BLOCK}ffn\.layers\.0\.0\.", rf"{_BLOCK}mlp.fc1."),
        Rule(rf"{_SOLIDER_BLOCK}ffn\.layers\.1\.", rf"{_BLOCK}mlp.fc2."),
        Rule(_SOLIDER_BLOCK, _BLOCK),
        Rule(r"stages\.(\d+)\.downsample\.", _one_later, _by_place),
        Rule(r"norm2\.", "norm_stage3."),
        Rule(r"norm3\.", "norm."),
        Rule(r"semantic_embed_w\.([0-2])\.", lambda match: f"{_one_later(match)}controller.scale."),
        Rule(r"semantic_embed_b\.([0-2])\.", lambda match: f"{_one_later(match)}controller.shift."),
    ),
)
"""SOLIDER's Swin (MMDetection's); ``norm0``, ``norm1`` and the fourth controller reach no feature that is used."""

MICROSOFT_SWIN = Translation(
    (r"layers\.0\.downsample\.reduction\.",),
    (Rule(r"layers\.(\d+)\.downsample\.", _one_later), Rule(r"head\.", "head.fc.")),
)

TORCHVISION_SWIN = Translation(
    (r"features\.1\.0\.attn\.relative_position_bias_table", r"features\.2\.reduction\."),
    (
        Rule(r"features\.0\.0\.", "patch_embed.proj."),
        Rule(r"features\.0\.2\.", "patch_embed.norm."),
        Rule(r"features\.(\d*[13579])\.(\d+)\.mlp\.0\.", lambda match: f"{_stage(match)}mlp.fc1."),
        Rule(r"features\.(\d*[13579])\.(\d+)\.mlp\.3\.", lambda match: f"{_stage(match)}mlp.fc2."),
        Rule(r"features\.(\d*[13579])\.(\d+)\.", lambda match: _stage(match)),
        Rule(r"features\.(\d+)\.", lambda match: f"layers.{int(match[1]) // 2}.downsample."),
        Rule(r"head\.", "head.fc."),
    ),
)

TORCHVISION_VIT = Translation(
    (r"conv_proj\.", r"encoder\.layers\.encoder_layer_0\."),
    (
        Rule(r"conv_proj\.", "patch_embed.proj."),
        Rule(r"class_token$", "cls_token"),
        Rule(r"encoder\.pos_embedding$", "pos_embed"),
        Rule(r"encoder\.layers\.encoder_layer_(\d+)\.ln_([12])\.", r"blocks.\1.norm\2."),
        Rule(r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_", r"blocks.\1.attn.qkv."),
        Rule(r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.", r"blocks.\1.attn.proj."),
        Rule(r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.", r"blocks.\1.mlp.fc1."),
        Rule(r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.", r"blocks.\1.mlp.fc2."),
        Rule(r"encoder\.ln\.", "norm."),
        Rule(r"heads\.head\.", "head."),
    ),
)

CLIP = Translation(
    (r"class_embedding$", r"transformer\.resblocks\.0\."),
    (
        Rule(r"class_embedding$", "cls_token", _as_token),
        Rule(r"positional_embedding$", "pos_embed", _as_batch),
        Rule(r"conv1\.", "patch_embed.proj."),
        Rule(r"ln_pre\.", "norm_pre."),
        Rule(r"transformer\.resblocks\.(\d+)\.ln_([12])\.", r"blocks.\1.norm\2."),
        Rule(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_", r"blocks.\1.attn.qkv."),
        Rule(r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.", r"blocks.\1.attn.proj."),
        Rule(r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.", r"blocks.\1.mlp.fc1."),
        Rule(r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.", r"blocks.\1.mlp.fc2."),
        Rule(r"ln_post\.", "norm."),
        Rule(r"proj$", "head.weight", _transposed),
        Rule(r"cv_embed$", "sie_embed", _as_cameras),
    ),
)
"""The image encoder of OpenAI's CLIP, of OpenCLIP and of CLIP-ReID."""

DEIT3 = Translation(
    (r"patch_embed\.", r"blocks\.0\.gamma_1$"),
    (Rule(r"blocks\.(\d+)\.gamma_([12])$", r"blocks.\1.ls\2.gamma"),),
)
"""DeiT III of its authors; models whose own names these are, as BEiT's, need no others."""

TRANSLATIONS = (SOLIDER, MICROSOFT_SWIN, TORCHVISION_SWIN, TORCHVISION_VIT, CLIP, DEIT3)


def _stage(match: re.Match) -> str:
    """torchvision's list has stages at odd numbers."""
    return f"layers.{int(match[1]) // 2}.blocks.{match[2]}."


def translated(names: Mapping[str, str], own: Iterable[str] = ()) -> tuple[dict[str, str], dict[str, Change]]:
    """A backbone's names as timm has them.

    Args:
        names: a backbone's name -> the file's.
        own: names of the backbone that it is for; what has the file's names needs no others.

    Returns:
        timm's names -> the file's, and by timm's names what becomes of values; the names themselves if the file's
        implementation is none of :data:`TRANSLATIONS`.
    """
    from_theirs = next((one for one in TRANSLATIONS if has(names, one.marks) and not has(own, one.marks)), None)
    if from_theirs is None:
        return dict(names), {}
    ours, changes = {}, {}
    for name, original in names.items():
        rule = next((rule for rule in from_theirs.rules if re.match(rule.pattern, name)), None)
        new = name if rule is None else re.sub(rule.pattern, rule.name, name, count=1)
        ours[new] = original
        if rule is not None and rule.change is not None:
            changes[new] = rule.change
    return ours, changes
