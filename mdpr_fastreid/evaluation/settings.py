"""What the evaluator refuses before long work: settings under ``TEST``, and what a model brings along."""

import math
import numbers
from collections.abc import Callable, Collection, Mapping

from fastreid.config import CfgNode

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.evaluation.distance_registry import find_distance
from mdpr_fastreid.evaluation.outputs import Distance, Outputs
from mdpr_fastreid.evaluation.ranking import AVERAGE_PRECISIONS
from mdpr_fastreid.evaluation.reranking import METRICS

Metrics = Callable[[Outputs], Mapping[str, float]]
"""Further numbers by name, of the outputs of all test images."""

BOTH = "both"
"""The value of ``TEST.AP`` that asks for every rule."""

# What stands beside results in tables and in metrics.json
_LOGGED = ("dataset", "iteration", "lr", "time", "data_time", "total_loss")


def check_test_settings(cfg: CfgNode) -> None:
    """Refuse settings under ``TEST`` that no evaluation can have.

    Raises:
        SettingsError: ``METRIC`` or ``AP`` names nothing, or a number of ``RERANK`` or ``AQE`` is out of its range.
    """
    test = cfg.TEST
    find_distance(test.METRIC)
    for key, value, least in (
        ("RERANK.K1", test.RERANK.K1, 1),
        ("RERANK.K2", test.RERANK.K2, 1),
        ("AQE.QE_TIME", test.AQE.QE_TIME, 0),
        ("AQE.QE_K", test.AQE.QE_K, 1),
    ):
        if value < least:
            raise SettingsError(f"TEST.{key} must be {least} or more, got {value}")
    if not 0 <= test.RERANK.LAMBDA <= 1:
        raise SettingsError(f"TEST.RERANK.LAMBDA must be between 0 and 1, got {test.RERANK.LAMBDA}")
    if not math.isfinite(test.AQE.ALPHA):
        raise SettingsError(f"TEST.AQE.ALPHA must be a finite number, got {test.AQE.ALPHA}")
    if "AP" not in test:
        raise SettingsError("the config has no TEST.AP: mdpr_fastreid.add_mdpr_config(cfg) adds the plugin's keys")
    if test.AP not in (*AVERAGE_PRECISIONS, BOTH):
        raise SettingsError(f"TEST.AP must be {', '.join(AVERAGE_PRECISIONS)} or {BOTH}, got {test.AP!r}")


def rules_of_average_precision(cfg: CfgNode) -> tuple[str, ...]:
    """The rules that ``TEST.AP`` asks for; that of ``mAP`` is the first."""
    return AVERAGE_PRECISIONS if cfg.TEST.AP == BOTH else (cfg.TEST.AP,)


def check_distance(distance: Distance | None) -> None:
    """Refuse a distance that cannot be called.

    Raises:
        SettingsError: it is neither None nor callable.
    """
    if distance is not None and not callable(distance):
        raise SettingsError(f"a distance must be a function (query, gallery) -> [Q, G], got {distance!r}")


def check_pairings(pairings: Mapping[str, tuple[str, str]] | None) -> None:
    """Refuse pairings that are no pairs of names by a name.

    Raises:
        SettingsError: they are of another shape.
    """
    pairs = list(pairings.items()) if isinstance(pairings, Mapping) else []
    if pairings is not None and not (
        pairs
        and all(isinstance(name, str) and isinstance(pair, tuple | list) and len(pair) == 2 for name, pair in pairs)
    ):
        raise SettingsError(
            'pairings must be names of outputs by name, such as {"I2V": ("image", "clip")} for image queries and a '
            f"gallery of clips, got {pairings!r}"
        )


def check_metrics(metrics: Metrics | None) -> None:
    """Refuse metrics that cannot be called.

    Raises:
        SettingsError: they are neither None nor callable.
    """
    if metrics is not None and not callable(metrics):
        raise SettingsError(f"metrics must be a function (outputs) -> numbers by name, got {metrics!r}")


def checked_metrics(found: Mapping[str, float], taken: Collection[str]) -> dict[str, float]:
    """What a model's own ``metrics`` returned, as floats.

    Args:
        found: numbers by name; tensors of one number are numbers.
        taken: names of other results.

    Raises:
        SettingsError: it is no mapping of names to numbers, or has a name that is taken.
    """
    if not isinstance(found, Mapping):
        raise SettingsError(f"a model's metrics must return numbers by name, got {type(found).__name__}")
    for name, value in found.items():
        is_number = isinstance(value, numbers.Real) or getattr(value, "shape", None) == ()
        if not isinstance(name, str) or not name or not is_number:
            raise SettingsError(f"a model's metrics must return numbers by name, got {name!r}: {value!r}")
        if name in taken or name in _LOGGED or name.startswith("loss"):
            raise SettingsError(f"a model's metrics return {name!r}, which is the name of another number: rename it")
    return {name: float(value) for name, value in found.items()}


def check_outputs(
    outputs: Outputs, cfg: CfgNode, pairings: Mapping[str, tuple[str, str]], distance: Distance | None
) -> None:
    """Refuse outputs of a model that cannot be ranked by these settings.

    Args:
        outputs: of one batch.
        cfg: the run's config.
        pairings: empty for none.
        distance: None for that of ``TEST.METRIC``.

    Raises:
        SettingsError: it says what the model gives, and what would be needed.
    """
    if not isinstance(outputs, dict):
        if pairings:
            raise SettingsError(f"the pairings {', '.join(pairings)} need a model that gives a dict of tensors")
        return
    names = ", ".join(map(str, outputs))
    missing = [name for pair in pairings.values() for name in pair if name not in outputs]
    if missing:
        raise SettingsError(f"a pairing compares {missing[0]!r}, which is none of the model's outputs: {names}")
    if pairings:
        return
    if distance is None and cfg.TEST.METRIC in METRICS:
        raise SettingsError(
            f"the model gives {names}, and TEST.METRIC {cfg.TEST.METRIC} compares one feature vector: the model needs "
            "`pairings`, or a `distance` of its own"
        )
    if cfg.TEST.AQE.ENABLED:
        raise SettingsError(f"the model gives {names}, and TEST.AQE expands one feature vector: turn it off")
