"""The names of MDPR's features, and which maps each of them needs."""

from collections.abc import Collection, Iterable

from mdpr_fastreid.errors import SettingsError

BRANCHES = ("hard", "soft")
INFERENCE_FEATURES = ("hard_global", "hard_parts", "soft4", "soft3", "fusion")
"""What an inference vector can be made of, in the published order."""

BRANCH_OF = {"hard_global": "hard", "hard_parts": "hard", "soft4": "soft", "soft3": "soft"}
"""The branch whose map a feature is read from; the fused one is read from all of them."""


def maps_for(features: Iterable[str]) -> frozenset[str]:
    """The maps that must be computed for these features: the fused one needs those of both branches."""
    features = frozenset(features)
    return frozenset(BRANCH_OF) if "fusion" in features else features


def check_settings(
    *,
    branches: Collection[str],
    parts: int,
    maps: int,
    distillation: bool,
    fusion: bool,
    inference_features: Collection[str],
) -> None:
    """Refuse settings that contradict each other.

    Raises:
        SettingsError: one message, with the keys, for everything that is wrong.
    """
    wrong = []
    if not branches or len(set(branches)) != len(branches) or not set(branches) <= set(BRANCHES):
        wrong.append(f"MODEL.MDPR.BRANCHES must name each of {BRANCHES} at most once and one at least, not {branches}")
    if parts < 1:
        wrong.append(f"MODEL.MDPR.PARTS must be at least 1, not {parts}")
    if maps < 1:
        wrong.append(f"MODEL.MDPR.ATTENTION.MAPS must be at least 1, not {maps}")
    both = set(BRANCHES) <= set(branches)
    if distillation and not both:
        wrong.append("MODEL.MDPR.DISTILL.ENABLED needs both branches in MODEL.MDPR.BRANCHES: set it to False")
    if fusion and not both:
        wrong.append("MODEL.MDPR.FUSION.ENABLED needs both branches in MODEL.MDPR.BRANCHES: set it to False")
    if not inference_features or len(set(inference_features)) != len(inference_features):
        wrong.append("MODEL.MDPR.INFERENCE_FEATURES must name one feature at least and none twice")
    for feature in inference_features:
        if feature not in INFERENCE_FEATURES:
            wrong.append(f"MODEL.MDPR.INFERENCE_FEATURES: {feature!r} is not one of {INFERENCE_FEATURES}")
        elif feature == "fusion" and not fusion:
            wrong.append("MODEL.MDPR.INFERENCE_FEATURES asks for 'fusion', but MODEL.MDPR.FUSION.ENABLED is False")
        elif feature != "fusion" and BRANCH_OF[feature] not in branches:
            wrong.append(
                f"MODEL.MDPR.INFERENCE_FEATURES asks for {feature!r}, which the branch "
                f"{BRANCH_OF[feature]!r} computes, but MODEL.MDPR.BRANCHES is {tuple(branches)}"
            )
    if wrong:
        raise SettingsError("these settings contradict each other:\n  " + "\n  ".join(wrong))
