"""A grid of settings: every method once with each combination of the values that ``--grid`` gives."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fastreid.config import CfgNode

from mdpr_fastreid.compare.methods import Method
from mdpr_fastreid.compare.shared import set_by_options
from mdpr_fastreid.config.checks import has_effect
from mdpr_fastreid.config.keys import value_of
from mdpr_fastreid.config.reading import merge_overrides
from mdpr_fastreid.errors import UsageError, shown

_SYNTAX = "write --grid KEY=VALUE,VALUE, and a list as [40,90]"
_BACKBONE = ("MODEL.BACKBONE.NAME", "MODEL.BACKBONE.DEPTH", "MODEL.BACKBONE.WITH_IBN")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Axis:
    """A key with the values that it takes."""

    key: str
    values: tuple[str, ...]
    """As they are typed; what is in brackets or quotes is one value."""


Point = tuple[tuple[str, str], ...]
"""A value for every key of the grid: pairs of key and value."""


def read_grid(texts: Sequence[str]) -> tuple[Axis, ...]:
    """What ``KEY=VALUE,VALUE`` texts ask for.

    Raises:
        UsageError: a text of another form, a key twice, or a key with a single value.
    """
    axes = []
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not key or not equals:
            raise UsageError(f"--grid {shown(text)}: {_SYNTAX}")
        if key in [axis.key for axis in axes]:
            raise UsageError(f"--grid names {key} twice: put all of its values into one")
        found = tuple(_split(text, values))
        if len(found) < 2:
            alone = f"{key} {shown(found[0])}"
            raise UsageError(f"--grid {shown(text)} is one value: set it as {alone}, or give two or more")
        axes.append(Axis(key, found))
    return tuple(axes)


def check_grid(axes: Sequence[Axis], cfg: CfgNode, overrides: Sequence[str], with_backbone: bool) -> None:
    """Refuse values that cannot be or are equal, and keys that are set elsewhere.

    Args:
        axes: of :func:`read_grid`.
        cfg: any config of the comparison, which knows all keys.
        overrides: ``KEY, VALUE, ...`` of all runs.
        with_backbone: whether ``--backbone`` is given.

    Raises:
        UsageError: what is wrong.
    """
    owned = {*set_by_options(), *(_BACKBONE if with_backbone else ())}
    for axis in axes:
        if axis.key in overrides[::2]:
            raise UsageError(f"{axis.key} is in --grid and a setting of all runs: take it out of one of them")
        if axis.key in owned or axis.key.startswith("DATASETS."):
            raise UsageError(
                f"--grid {axis.key}: data, input size, batch, length, seeds and what an option sets are the same in "
                "all rows: make a comparison for each value"
            )
        read: list[object] = []
        for text in axis.values:
            value = _value(cfg, axis.key, text)
            if value in read:
                raise UsageError(f"--grid {axis.key}: {shown(text)} is there twice")
            read.append(value)


def points(axes: Sequence[Axis]) -> list[Point]:
    """Every combination of the values; one without any for no axes."""
    pairs = [[(axis.key, value) for value in axis.values] for axis in axes]
    return list(itertools.product(*pairs))


def effective(point: Point, cfg: CfgNode) -> Point:
    """The pairs that change anything in this config: MDPR's stripes do not in BoT.

    Args:
        point: a combination of values.
        cfg: of a method, with these values.
    """
    return tuple((key, value) for key, value in point if has_effect(cfg, key))


def row_of(method: Method, point: Point, axes: Sequence[Axis], cfg: CfgNode, titled: bool) -> Method:
    """A method with the values of a point, named by them.

    Args:
        method: as ``--methods`` names it.
        point: of the grid; without any the method stays as it is.
        axes: the whole grid, in which the keys are shortened as far as they stay distinct.
        cfg: with these values; ``1e-4`` and ``0.0001`` are the same row.
        titled: whether the title names the method, too.
    """
    if not point:
        return method
    short = dict(zip((axis.key for axis in axes), _shortened([axis.key for axis in axes]), strict=True))
    words = [f"{short[key]}={_text(value_of(cfg, key))}" for key, _ in point]
    name = re.sub(r"[^\w.-]+", "-", " ".join([method.name, *words])).strip(".-")
    title = " ".join([method.title, *words] if titled else words)
    overrides = (*method.overrides, *(word for pair in point for word in pair))
    return replace(method, name=name, title=title, overrides=overrides)


def _value(cfg: CfgNode, key: str, text: str) -> object:
    cfg = cfg.clone()
    merge_overrides(cfg, [key, text])
    return value_of(cfg, key)


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_text, value)) + "]"
    return str(value)


def _shortened(keys: Sequence[str]) -> list[str]:
    """Each key's last words, as many as it takes for all to differ."""
    parts = [key.split(".") for key in keys]
    for count in range(1, max(map(len, parts)) + 1):
        short = [".".join(part[-count:]) for part in parts]
        if len(set(short)) == len(short):
            break
    return short


def _split(text: str, values: str) -> Iterator[str]:
    """Cut at the commas that are in no brackets and no quotes."""
    start, expected = 0, []
    for position, char in enumerate(values):
        if expected and char == expected[-1]:
            expected.pop()
        elif expected and expected[-1] in "\"'":
            continue
        elif char in "\"'" or char in _CLOSING:
            expected.append(_CLOSING.get(char, char))
        elif char == "," and not expected:
            yield _not_empty(text, values[start:position])
            start = position + 1
    if expected:
        raise UsageError(f"--grid {shown(text)}: a {expected[-1]} is missing; {_SYNTAX}")
    yield _not_empty(text, values[start:])


def _not_empty(text: str, value: str) -> str:
    if not value.strip():
        raise UsageError(f"--grid {shown(text)}: a value is empty; {_SYNTAX}")
    return value.strip()
