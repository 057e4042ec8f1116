"""The ablations of the MDPR paper (arXiv 2401.06430) as named overrides, as docs/how-to/ablations.md lists them."""

from typing import NamedTuple

from mdpr_fastreid.modeling.features import FUSED, features_of

_NO_DISTILLATION = ("MODEL.MDPR.DISTILL.ENABLED", "False")


def _features(*names: str) -> tuple[str, str]:
    return "MODEL.MDPR.INFERENCE_FEATURES", "(" + "".join(f"'{name}'," for name in names) + ")"


_NO_FUSION = ("MODEL.MDPR.FUSION.ENABLED", "False", *_features(*FUSED))


def _alone(branch: str) -> tuple[str, ...]:
    return (
        *("MODEL.MDPR.BRANCHES", f"('{branch}',)", *_NO_DISTILLATION, "MODEL.MDPR.FUSION.ENABLED", "False"),
        *_features(*features_of(branch)),
    )


class Ablation(NamedTuple):
    """One row of an ablation table: MDPR with something changed."""

    name: str
    title: str
    overrides: tuple[str, ...]
    """``KEY, VALUE, KEY, VALUE, ...``"""
    trained: bool = True
    """Whether it is trained anew; else the full model, trained once, is evaluated with these overrides."""


def _maps(count: int, word: str) -> Ablation:
    return Ablation(f"maps{count}", f"{word} attention map{'s' * (count > 1)}", _set("ATTENTION.MAPS", count))


def _stripes(count: int, word: str) -> Ablation:
    return Ablation(f"stripes{count}", f"{word} stripe{'s' * (count > 1)}", _set("PARTS", count))


def _set(key: str, value: object) -> tuple[str, str]:
    return f"MODEL.MDPR.{key}", str(value)


def _read(name: str, title: str, *features: str) -> Ablation:
    return Ablation(f"feature-{name}", f"read: {title}", _features(*features), trained=False)


FULL = Ablation("mdpr", "MDPR", ())
"""What the others are compared with: two maps, guided, two stripes, distilled, fused, all features read."""

GROUPS: dict[str, tuple[Ablation, ...]] = {
    "maps": (_maps(1, "one"), _maps(3, "three"), _maps(4, "four")),
    "guidance": (Ablation("unguided", "without attention guidance", _set("ATTENTION.GUIDED", False)),),
    "losses": (
        Ablation("no-diversity", "without the diversity loss", _set("ATTENTION.DIVERSITY_SCALE", 0.0)),
        Ablation("beta0", "beta = 0 (no area loss)", _set("ATTENTION.AREA_SCALE", 0.0)),
        Ablation("beta1e-4", "beta = 0.0001", _set("ATTENTION.AREA_SCALE", 0.0001)),
        Ablation("beta1e-2", "beta = 0.01", _set("ATTENTION.AREA_SCALE", 0.01)),
    ),
    "stripes": (_stripes(1, "one"), _stripes(3, "three"), _stripes(6, "six")),
    "teaching": (
        Ablation("no-distillation", "without mutual distillation", _NO_DISTILLATION),
        Ablation("no-fusion", "without fusion", _NO_FUSION),
        Ablation("neither", "without both", (*_NO_DISTILLATION, *_NO_FUSION)),
    ),
    "branches": (
        Ablation("hard-alone", "hard content branch alone", _alone("hard")),
        Ablation("soft-alone", "soft content branch alone", _alone("soft")),
    ),
    "features": (
        _read("hard_global", "global feature of the hard branch", "hard_global"),
        _read("hard_parts", "stripes", "hard_parts"),
        _read("soft4", "stage 4 of the soft branch", "soft4"),
        _read("soft3", "stage 3 of the soft branch", "soft3"),
        _read("fusion", "fused feature", "fusion"),
        _read("hard", "hard branch", *features_of("hard")),
        _read("soft", "soft branch", *features_of("soft")),
    ),
}
"""The ablations by what they ask; ``--ablation`` takes these names."""
