"""Translates weights between the published MDPR implementation's names and ours, without loss both ways."""

import re
from collections.abc import Mapping

import torch
from fastreid.config import CfgNode, get_cfg

from mdpr_fastreid.config import add_mdpr_config
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.modeling.features import FUSED, FUSION, READINGS

_HEADS = "heads.embedding_heads."
_HEAD = {name: f"{_HEADS}{name}" for reading in READINGS.values() for name in reading.heads} | {FUSION: _HEADS + FUSION}

# Published name <-> ours, in the order of the published state dict. "#" stands for the number of a stripe or of an
# attention map.
_MODULES = (
    ("generate.backbone.0", "backbone.trunk.conv1"),
    ("generate.backbone.1", "backbone.trunk.bn1"),
    ("generate.backbone.4", "backbone.trunk.layer1"),
    ("generate.backbone.5", "backbone.trunk.layer2"),
    ("generate.backbone_part.0", "backbone.hard.stage3"),
    ("generate.backbone_part.1", "backbone.hard.stage4"),
    ("generate.embedding_hard_global.embedding", "hard.global_embedding.conv"),
    ("generate.embedding_hard_global.bn", "hard.global_embedding.bn"),
    ("generate.embedding_hard_part.#.embedding", "hard.stripe_embeddings.#.conv"),
    ("generate.embedding_hard_part.#.bn", "hard.stripe_embeddings.#.bn"),
    ("generate.backbone_attn.0", "backbone.soft.stage3"),
    ("generate.backbone_attn.1", "backbone.soft.stage4"),
    ("generate.embedding_attn_feature4.embedding", "soft.embedding4.conv"),
    ("generate.embedding_attn_feature4.bn", "soft.embedding4.bn"),
    ("generate.em3_1024.embedding", "soft.refine3.conv"),
    ("generate.em3_1024.bn", "soft.refine3.bn"),
    ("generate.embedding_attn_feature3.embedding", "soft.embedding3.conv"),
    ("generate.embedding_attn_feature3.bn", "soft.embedding3.bn"),
    ("generate.attention_maker4.conv", "soft.attention_maker4.conv1x1"),
    ("generate.attention_maker4.conv3", "soft.attention_maker4.conv3x3"),
    ("generate.attention_maker4.bn", "soft.attention_maker4.bn"),
    ("generate.up_attn_4_3.conv", "soft.guidance.conv"),
    ("generate.attention_maker3.conv", "soft.attention_maker3.conv1x1"),
    ("generate.attention_maker3.conv3", "soft.attention_maker3.conv3x3"),
    ("generate.attention_maker3.bn", "soft.attention_maker3.bn"),
    ("generate.attn_bap3.pool", "soft.pooling3.gem"),
    ("generate.attn_bap3.embedding_layer.#.embedding", "soft.pooling3.embeddings.#.conv"),
    ("generate.attn_bap3.embedding_layer.#.bn", "soft.pooling3.embeddings.#.bn"),
    ("generate.attn_bap4.pool", "soft.pooling4.gem"),
    ("generate.attn_bap4.embedding_layer.#.embedding", "soft.pooling4.embeddings.#.conv"),
    ("generate.attn_bap4.embedding_layer.#.bn", "soft.pooling4.embeddings.#.bn"),
    ("hard_global_head", _HEAD["hard_global"]),
    ("hard_part_head.#", _HEAD["hard_part#"]),
    ("attn_feature4_head", _HEAD["soft4"]),
    ("attn_feature3_head", _HEAD["soft3"]),
    ("attn_bap_feature4_head", _HEAD["attention4"]),
    ("attn_bap_feature3_head", _HEAD["attention3"]),
    ("fusion.merge", "heads.fusion.stripes"),
    ("fusion.output_part", "heads.fusion.hard"),
    ("fusion.output_attn", "heads.fusion.soft"),
    ("fusion.output", "heads.fusion.output"),
    ("fusion_feat_head", _HEAD[FUSION]),
    ("predictor1", "heads.predictors.hard_to_soft"),
    ("predictor2", "heads.predictors.soft_to_hard"),
)

_DEPTHS = {
    ((2, 2, 2, 2), False): "18x",
    ((3, 4, 6, 3), False): "34x",
    ((3, 4, 6, 3), True): "50x",
    ((3, 4, 23, 3), True): "101x",
}
"""FastReID's name of a ResNet by the blocks of its stages and whether they are bottlenecks."""

_STAGES = ("backbone.trunk.layer1", "backbone.trunk.layer2", "backbone.hard.stage3", "backbone.hard.stage4")

_TELLING = (
    "hard.global_embedding.conv.weight",
    "soft.refine3.conv.weight",
    "soft.attention_maker3.conv1x1.weight",
)
"""Entries whose shapes tell the width of the embeddings, the number of attention maps and guidance."""


def from_official(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Translate weights of the published MDPR implementation into ours.

    The tensors are the same objects; only the names change. Nothing is dropped or made up.

    Args:
        state_dict: the published model's ``state_dict()``, tensors by name.

    Returns:
        What ``load_state_dict`` of our ``MDPR`` takes, with the settings that :func:`settings` tells.

    Raises:
        ValueError: a name is unknown or missing, or a shape does not fit the others; the message names it.
    """
    ours = _renamed(state_dict, [(_pattern(theirs), mine) for theirs, mine in _MODULES], "published MDPR's")
    _check_complete(ours, dict(zip(ours, state_dict, strict=True)))
    return ours


def to_official(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Translate our weights into those of the published implementation, in its order.

    Args:
        state_dict: ``state_dict()`` of our ``MDPR`` with a ResNet backbone and both branches.

    Returns:
        What the published model's ``load_state_dict`` takes.

    Raises:
        ValueError: a name is unknown or missing, or a shape does not fit the others; the message names it.
    """
    _check_complete(state_dict, {name: name for name in state_dict})
    theirs = _renamed(state_dict, [(_pattern(mine), theirs) for theirs, mine in _MODULES], "ours")
    return dict(sorted(theirs.items(), key=lambda item: _published_position(item[0])))


def settings(state_dict: Mapping[str, torch.Tensor]) -> CfgNode:
    """The configuration that weights of ours belong to, read off their names and shapes.

    Args:
        state_dict: tensors by our names, of a model with a ResNet backbone and both branches.

    Returns:
        A FastReID config with the backbone, ``MODEL.MDPR`` and the heads set; the rest is default.

    Raises:
        ValueError: the backbone is not one of FastReID's ResNets, or a branch is not there.
    """
    names = state_dict.keys()
    blocks = tuple(_count(names, rf"{re.escape(stage)}\.(\d+)\.") for stage in _STAGES)
    bottleneck = "backbone.hard.stage4.0.conv3.weight" in names
    if (blocks, bottleneck) not in _DEPTHS:
        raise ValueError(f"not an MDPR on a ResNet-18, -34, -50 or -101: the hard branch's stages have {blocks} blocks")
    for needed in _TELLING:
        if needed not in names:
            raise ValueError(f"missing: {needed}, without which the settings cannot be read off")
    embedding, refined, scores = (state_dict[name] for name in _TELLING)
    fusion = any(name.startswith(("heads.fusion.", f"{_HEAD[FUSION]}.")) for name in names)

    cfg = get_cfg()
    add_mdpr_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "MDPR"
    cfg.MODEL.BACKBONE.DEPTH = _DEPTHS[blocks, bottleneck]
    cfg.MODEL.BACKBONE.WITH_IBN = any(".bn1.IN." in name for name in names)
    cfg.MODEL.BACKBONE.WITH_SE = any(".se." in name for name in names)
    cfg.MODEL.HEADS.NAME = "MDPRHead"
    cfg.MODEL.HEADS.WITH_BNNECK = any(".bottleneck." in name for name in names)
    cfg.MODEL.HEADS.POOL_LAYER = (
        "GeneralizedMeanPoolingP" if any(name.endswith("pool_layer.p") for name in names) else "GlobalAvgPool"
    )
    classifiers = [state_dict[name] for name in names if re.fullmatch(rf"{_HEADS}\w+\.weight", name)]
    cfg.MODEL.HEADS.NUM_CLASSES = classifiers[0].shape[0] if classifiers else 0
    mdpr = cfg.MODEL.MDPR
    mdpr.EMBEDDING_DIM = embedding.shape[0]
    stripes = ("hard.stripe_embeddings.#", _HEAD["hard_part#"])
    mdpr.PARTS = max(_count(names, re.escape(one).replace(r"\#", r"(\d+)") + r"\.") for one in stripes)
    mdpr.ATTENTION.MAPS = scores.shape[0] - 1
    mdpr.ATTENTION.GUIDED = scores.shape[1] != refined.shape[1]
    mdpr.FUSION.ENABLED = fusion
    mdpr.DISTILL.ENABLED = any(name.startswith("heads.predictors.") for name in names)
    if not fusion:
        mdpr.INFERENCE_FEATURES = FUSED
    return cfg


def _pattern(module: str) -> re.Pattern:
    return re.compile(re.escape(module).replace(r"\#", r"(?P<number>\d+)") + r"(?P<entry>\..+)")


def _renamed(
    state_dict: Mapping[str, torch.Tensor], rules: list[tuple[re.Pattern, str]], whose: str
) -> dict[str, torch.Tensor]:
    renamed, unknown = {}, []
    for name, value in state_dict.items():
        for pattern, module in rules:
            if match := pattern.fullmatch(name):
                renamed[module.replace("#", match.groupdict().get("number") or "") + match["entry"]] = value
                break
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(_listing(f"unknown, not among {whose} names", unknown))
    return renamed


def _check_complete(ours: Mapping[str, torch.Tensor], given_names: Mapping[str, str]) -> None:
    """Compare with a model of the same settings, built without memory; speak of entries by the names they came with."""
    cfg = settings(ours)
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [32 * max(1, cfg.MODEL.MDPR.PARTS), 64]
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in build_model(cfg).state_dict().items()}
    problems = []
    if unknown := [given_names[name] for name in ours if name not in expected]:
        problems.append(_listing("unknown, or without the entries that would make them a part of the model", unknown))
    if missing := [name for name in expected if name not in ours]:
        speaks_ours = all(name == given for name, given in given_names.items())
        problems.append(_listing("missing", missing if speaks_ours else [_official_name(name) for name in missing]))
    for name, value in ours.items():
        if name in expected and tuple(value.shape) != expected[name]:
            problems.append(f"{given_names[name]} has shape {tuple(value.shape)}, expected {expected[name]}")
    if problems:
        raise ValueError("; ".join(problems))


def _official_name(name: str) -> str:
    (renamed,) = _renamed({name: None}, [(_pattern(mine), theirs) for theirs, mine in _MODULES], "ours")
    return renamed


def _published_position(name: str) -> tuple[int, int, int]:
    """Where the published state dict has this entry: numbered modules stay together, number by number."""
    for index, (module, _) in enumerate(_MODULES):
        if match := _pattern(module).fullmatch(name):
            family = module.partition("#")[0]
            first = next(i for i, (other, _) in enumerate(_MODULES) if other.partition("#")[0] == family)
            return first, int(match.groupdict().get("number") or 0), index
    raise KeyError(name)


def _count(names, pattern: str) -> int:
    """One more than the highest number that the pattern's group matches, 0 if it matches nothing."""
    return max((int(match[1]) + 1 for name in names if (match := re.match(pattern, name))), default=0)


def _listing(what: str, names: list[str], shown: int = 8) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{what}: {', '.join(names[:shown])}{more}"
