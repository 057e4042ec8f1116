"""What a config has beside FastReID's keys: the plugin's, and those of projects."""

import copy

from fastreid.config import CfgNode, defaults

from mdpr_fastreid.config.keys import Key, has_key
from mdpr_fastreid.config.plugin_keys import PLUGIN_KEYS

_project_keys: dict[str, Key] = {}


def register_keys(*keys: Key) -> None:
    """Add keys of a project's own: every config that is made from now on has them, and checks them as all others.

    Args:
        *keys: as ``Key("MODEL.MINE.WIDTH", 64, whole(1), "Width of mine", ("MODEL.META_ARCHITECTURE", "Mine"))``;
            :mod:`mdpr_fastreid.config.values` has what a value may be.

    Raises:
        ValueError: there is another key of that name, or the default is none of the values.
    """
    for key in keys:
        if key.name in _project_keys:
            known = _project_keys[key.name]
            if (known.default, known.meaning) != (key.default, key.meaning):
                raise ValueError(f"{key.name} is registered already, with another default or meaning")
        elif has_key(defaults._C, key.name):
            raise ValueError(f"{key.name} is a key of every config already")
        if not key.values.accepts(key.default):
            raise ValueError(f"{key.name} must be {key.values.says}, and its default is {key.default!r}")
        _project_keys[key.name] = key
    add_mdpr_config(defaults._C)


def added_keys() -> tuple[Key, ...]:
    """What a config has beside FastReID's keys: the plugin's, and those of the projects that are imported."""
    return (*PLUGIN_KEYS, *_project_keys.values())


def add_mdpr_config(cfg: CfgNode) -> None:
    """Add the plugin's keys, and those of imported projects, with their defaults, to a FastReID config, in place.

    Keys that are there already keep their value, so calling it twice is harmless.

    Args:
        cfg: a config from ``fastreid.config.get_cfg()``.
    """
    for key in added_keys():
        *sections, last = key.name.split(".")
        node = cfg
        for section in sections:
            if section not in node:
                node[section] = CfgNode()
            node = node[section]
        if last not in node:
            node[last] = copy.deepcopy(key.default)
