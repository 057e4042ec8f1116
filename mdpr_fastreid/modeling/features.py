"""What MDPR reads off a person, in one place: names, where each comes from, and the identity heads on it.

Whoever needs one of these names (backbone, head, meta-architecture, folding, the translation of published weights,
benchmarks, ablations) reads it here.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from fastreid.config import CfgNode

from mdpr_fastreid.errors import SettingsError

BRANCHES = ("hard", "soft")


class Reading(NamedTuple):
    """A map, or several of one kind, that a branch makes of its stages."""

    branch: str
    last_stage: int
    """Up to which the branch's own stages, 3 and 4, have to run for it."""
    modules: tuple[str, ...]
    """The branch's children that make it."""
    heads: tuple[str, ...]
    """The identity heads on it; ``#`` stands for the number of a stripe."""


READINGS = {
    "hard_global": Reading("hard", 4, ("global_embedding",), ("hard_global",)),
    "hard_parts": Reading("hard", 4, ("stripe_embeddings",), ("hard_part#",)),
    "soft4": Reading("soft", 4, ("embedding4",), ("soft4",)),
    "soft3": Reading("soft", 3, ("refine3", "embedding3"), ("soft3",)),
    "attention": Reading(
        "soft",
        4,
        ("attention_maker4", "guidance", "attention_maker3", "refine3", "pooling4", "pooling3"),
        ("attention4", "attention3"),
    ),
}
"""In the order of the identity heads. ``attention`` teaches the soft branch where to look, in training only."""

FUSION = "fusion"
"""The feature, and the head, that is read from all of ``FUSED``."""
FUSED = ("hard_global", "hard_parts", "soft4", "soft3")
INFERENCE_FEATURES = (*FUSED, FUSION)
"""What an inference vector can be made of, in the published order."""


def features_of(branch: str) -> tuple[str, ...]:
    """The inference features that one branch computes alone."""
    return tuple(name for name in FUSED if READINGS[name].branch == branch)


def readings_for(features: Iterable[str]) -> frozenset[str]:
    """The readings that have to be computed for these features: the fused one needs those of both branches."""
    features = frozenset(features)
    return features - {FUSION} | frozenset(FUSED if FUSION in features else ())


def last_stages(readings: Iterable[str]) -> dict[str, int]:
    """Up to which of its own stages each branch has to run for these readings; others do not run at all."""
    last: dict[str, int] = {}
    for branch, stage in ((READINGS[name].branch, READINGS[name].last_stage) for name in readings):
        last[branch] = max(stage, last.get(branch, 0))
    return last


def heads_on(feature: str, parts: int) -> tuple[str, ...]:
    """Names of the identity heads on a feature, of which the stripes have ``parts``."""
    if feature == FUSION:
        return (FUSION,)
    return tuple(
        head.replace("#", str(number))
        for head in READINGS[feature].heads
        for number in range(parts if head.endswith("#") else 1)
    )


def head_widths(branches: Collection[str], parts: int, maps: int, fusion: bool) -> dict[str, int]:
    """Channels of the map that each identity head gets, in embedding dimensions; in the heads' order.

    Args:
        branches: those that exist.
        parts: number of stripes.
        maps: number of attention maps at each granularity, whose vectors one head gets side by side.
        fusion: whether there is the fused map, of four embeddings.
    """
    widths = {
        head: maps if name == "attention" else 1
        for name, reading in READINGS.items()
        if reading.branch in branches
        for head in heads_on(name, parts)
    }
    return widths | ({FUSION: len(FUSED)} if fusion else {})


def check_settings(mdpr: CfgNode) -> None:
    """Refuse settings under ``MODEL.MDPR`` that contradict each other.

    Raises:
        SettingsError: one message, with the keys, for everything that is wrong.
    """
    branches, fusion, inference_features = mdpr.BRANCHES, mdpr.FUSION.ENABLED, mdpr.INFERENCE_FEATURES
    wrong = []
    if not branches or len(set(branches)) != len(branches) or not set(branches) <= set(BRANCHES):
        wrong.append(f"MODEL.MDPR.BRANCHES must name each of {BRANCHES} at most once and one at least, not {branches}")
    if mdpr.PARTS < 1:
        wrong.append(f"MODEL.MDPR.PARTS must be at least 1, not {mdpr.PARTS}")
    if mdpr.ATTENTION.MAPS < 1:
        wrong.append(f"MODEL.MDPR.ATTENTION.MAPS must be at least 1, not {mdpr.ATTENTION.MAPS}")
    both = set(BRANCHES) <= set(branches)
    if mdpr.DISTILL.ENABLED and not both:
        wrong.append("MODEL.MDPR.DISTILL.ENABLED needs both branches in MODEL.MDPR.BRANCHES: set it to False")
    if fusion and not both:
        wrong.append("MODEL.MDPR.FUSION.ENABLED needs both branches in MODEL.MDPR.BRANCHES: set it to False")
    if not inference_features or len(set(inference_features)) != len(inference_features):
        wrong.append("MODEL.MDPR.INFERENCE_FEATURES must name one feature at least and none twice")
    for feature in inference_features:
        if feature not in INFERENCE_FEATURES:
            wrong.append(f"MODEL.MDPR.INFERENCE_FEATURES: {feature!r} is not one of {INFERENCE_FEATURES}")
        elif feature == FUSION and not fusion:
            wrong.append(f"MODEL.MDPR.INFERENCE_FEATURES asks for {FUSION!r}, but MODEL.MDPR.FUSION.ENABLED is False")
        elif feature != FUSION and READINGS[feature].branch not in branches:
            wrong.append(
                f"MODEL.MDPR.INFERENCE_FEATURES asks for {feature!r}, which the branch "
                f"{READINGS[feature].branch!r} computes, but MODEL.MDPR.BRANCHES is {tuple(branches)}"
            )
    if wrong:
        raise SettingsError("these settings contradict each other:\n  " + "\n  ".join(wrong))
