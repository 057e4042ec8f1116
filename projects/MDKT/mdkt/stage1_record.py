"""What a training of stage 1 left in its folder about itself: the config it was run with."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from fastreid.config import CfgNode

from mdpr_fastreid.errors import UsageError

FILE = "config.yaml"
"""Beside the checkpoints, as FastReID writes it."""


class Difference(NamedTuple):
    """A key that has another value now."""

    key: str
    then: object
    now: object


def first_difference(folder: Path, cfg: CfgNode, keys: Sequence[str]) -> Difference | None:
    """The first of some keys whose value in a folder's config is another than in ``cfg``.

    Keys that the folder's config does not have are not compared, and nothing is where there is no config.

    Raises:
        UsageError: the folder's config is no config.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        trained = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{file}: cannot be read as a config: remove it, or put back what the training wrote"
        ) from error
    for key in keys:
        then, now = value_of(trained, key), value_of(cfg, key)
        if then is not None and _plain(then) != _plain(now):
            return Difference(key, then, now)
    return None


def value_of(node: object, key: str) -> object:
    """The value at ``A.B.C`` of nested dicts; None where there is none."""
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple | list) else value
