"""A name in the config that no registry has is a KeyError from inside the toolbox, always.

Here the error has the nearest name that is registered. Can go when FastReID's ``Registry.get`` says it.
"""

import difflib

from fastreid.utils.registry import Registry

from mdpr_fastreid.errors import UsageError


class UnknownNameError(UsageError, KeyError):
    """A mistake in a config, and still the ``KeyError`` that callers of ``Registry.get`` may expect."""

    __str__ = Exception.__str__


def apply() -> None:
    """Mend ``Registry.get``."""
    Registry.get = _get


def _get(self: Registry, name: str) -> object:
    if name not in self._obj_map:
        known = sorted(self._obj_map)
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(known)}"
        raise UnknownNameError(f"nothing is registered as {name!r} in {self._name}; {hint}")
    return self._obj_map[name]
