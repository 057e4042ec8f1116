"""What the value of a key may be: each kind says it in words, for messages and for the page of all keys."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Values:
    """The values that a key accepts."""

    says: str
    """In words that follow "must be"."""
    accepts: Callable[[object], bool]
    """Whether a value is one of them."""
    registry: str = ""
    """The registry that has to know the names in it, as :mod:`mdpr_fastreid.config.names` calls it."""
    choices: tuple[str, ...] = ()
    """The accepted texts, where they are a list."""
    separator: str = ""
    """What stands between several names in one text."""

    def names(self, value: str | Sequence[str]) -> list[str]:
        """The names in a value, for the registry."""
        if not isinstance(value, str):
            return list(value)
        return value.split(self.separator) if self.separator else [value]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and not math.isnan(value)


def _is_many(value: object) -> bool:
    return isinstance(value, (list, tuple))


yes_or_no = Values("True or False", lambda value: isinstance(value, bool))

text = Values("text", lambda value: isinstance(value, str))

path = Values('a path, or "" for none', lambda value: value is None or (isinstance(value, str) and "\0" not in value))

folder = Values("the path of a folder", lambda value: isinstance(value, str) and value != "" and "\0" not in value)


def whole(least: int | None = None, most: int | None = None) -> Values:
    """A whole number from ``least`` to ``most``, both included."""

    def accepts(value: object) -> bool:
        return _is_whole(value) and (least is None or value >= least) and (most is None or value <= most)

    return Values(f"a whole number{_span(least, most)}", accepts)


def number(
    least: float | None = None, most: float | None = None, *, above: float | None = None, infinite: bool = False
) -> Values:
    """A number from ``least`` to ``most``, both included, or greater than ``above``; finite, unless ``infinite``."""

    def accepts(value: object) -> bool:
        return (
            _is_number(value)
            and (infinite or math.isfinite(value))
            and (least is None or value >= least)
            and (most is None or value <= most)
            and (above is None or value > above)
        )

    return Values("a number" + (_span(least, most) if above is None else f" greater than {above}"), accepts)


def _span(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f" of {least} or more"
    return "" if most is None else f" of {most} or less"


def one_of(*choices: str) -> Values:
    """One of these texts."""
    quoted = [f'"{choice}"' for choice in choices]
    says = f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else quoted[0]
    return Values(says, lambda value: isinstance(value, str) and value in choices, choices=choices)


def many(each: Values, *counts: int, least: int = 0) -> Values:
    """A list or tuple of values, as many as one of ``counts`` says, or ``least`` and more."""

    def accepts(value: object) -> bool:
        fits = _is_many(value) and (len(value) in counts if counts else len(value) >= least)
        return fits and all(each.accepts(part) for part in value)

    count = " or ".join(map(str, counts)) if counts else f"{least} or more" if least else "any number"
    plural = "value" if counts == (1,) else "values"
    return Values(f"a list of {count} {plural}, each {each.says}" if counts or least else f"a list, each {each.says}",
                  accepts, each.registry)  # fmt: skip


def registered(registry: str) -> Values:
    """A name that a registry knows; whether it does is asked when a config is checked."""
    return Values(f"a name registered in {registry}", text.accepts, registry)


def name_or_none(registry: str) -> Values:
    """A name as of :func:`registered`, or "" for none."""
    return Values(f'"", or a name registered in {registry}', text.accepts, registry)


def joined(registry: str) -> Values:
    """Names as of :func:`registered` in one text, "+" between them."""

    def accepts(value: object) -> bool:
        names = value.split("+") if isinstance(value, str) else [""]
        return all(names) and len(set(names)) == len(names)

    says = f'names registered in {registry}, each once, with "+" between them'
    return Values(says, accepts, registry, separator="+")


LONGEST_SIDE = 8192
"""Pixels of the height or width that an image may be resized to."""


def _accepts_size(value: object) -> bool:
    whole_numbers = _is_many(value) and len(value) in (1, 2) and all(_is_whole(part) for part in value)
    return whole_numbers and (all(0 < part <= LONGEST_SIDE for part in value) or all(part == 0 for part in value))


size = Values(
    f"a list: [height, width] of 1 or more, {LONGEST_SIDE} at most, one number for the shorter side, "
    "or [0] for images as they are",
    _accepts_size,
)

crop_size = many(whole(1), 1, 2)

interval = Values(
    "a list of 2 values, each a number greater than 0, the smaller first",
    lambda value: many(number(above=0), 2).accepts(value) and value[0] <= value[1],
)

shares = Values(
    "a list of 2 values, each a number greater than 0 and at most 1, the smaller first",
    lambda value: interval.accepts(value) and value[1] <= 1,
)


def _accepts_pairs(value: object) -> bool:
    return _is_many(value) and all(
        _is_many(pair) and len(pair) == 2 and all(isinstance(part, str) and part for part in pair) for pair in value
    )


named_folders = Values('a tuple of pairs (name, folder): (("shop", "/data/shop"),)', _accepts_pairs)


def _accepts_arguments(value: object) -> bool:
    return _is_many(value) and len(value) % 2 == 0 and all(isinstance(name, str) and name for name in value[::2])


arguments = Values('a list of names, each followed by its value: ("patch_size", 16)', _accepts_arguments)


def _compiles(pattern: object) -> re.Pattern | None:
    try:
        return re.compile(pattern) if isinstance(pattern, str) else None
    except re.error:
        return None


regular_expression = Values("a regular expression", lambda value: _compiles(value) is not None)

pattern_of_camera = Values(
    "\"\" or a regular expression with one group, the camera, e.g. 'cam(\\d+)'",
    lambda value: value == "" or getattr(_compiles(value), "groups", 0) == 1,
)

_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{8,64}", re.IGNORECASE)

sha256 = Values(
    '"", or 8 to 64 hexadecimal digits, with "sha256:" before them or without',
    lambda value: value in (None, "") or (isinstance(value, str) and _DIGEST.fullmatch(value) is not None),
)


def subset(*parts: object) -> Values:
    """A list of some of these, in any order."""
    allowed = ", ".join(map(repr, parts))
    return Values(
        f"a list of some of {allowed}",
        lambda value: isinstance(value, Sequence) and _is_many(value) and all(part in parts for part in value),
    )
