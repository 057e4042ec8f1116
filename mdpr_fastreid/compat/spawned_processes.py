"""A spawned process that unpickles something of FastReID's imports the toolbox before anything mended it.

That is so for the workers of a loader and for processes of ``mp.spawn`` whose parent has no script to
import again (``python -c``, a notebook), since Python 3.10; and Python 3.14 no longer forks by default.
What is sent between processes therefore names FastReID's classes and functions through this module, whose
import mends them. Can go together with ``removed_imports``.
"""

import importlib
from functools import reduce
from multiprocessing.reduction import ForkingPickler
from types import FunctionType
from typing import Any


def apply() -> None:
    """Teach the pickler of ``multiprocessing``, and only that one, to name FastReID's objects through us."""
    following = getattr(ForkingPickler, "reducer_override", None)

    def reducer_override(self: ForkingPickler, obj: Any) -> Any:
        is_named = isinstance(obj, (type, FunctionType)) and (obj.__module__ or "").split(".")[0] == "fastreid"
        if is_named and _is_found(obj):
            return find, (obj.__module__, obj.__qualname__)
        return following(self, obj) if following else NotImplemented

    ForkingPickler.reducer_override = reducer_override


def find(module: str, qualified_name: str) -> Any:
    """The class or function of that name, in a toolbox that importing this module has mended."""
    return reduce(getattr, qualified_name.split("."), importlib.import_module(module))


def _is_found(obj: Any) -> bool:
    try:
        return find(obj.__module__, obj.__qualname__) is obj
    except (AttributeError, ImportError):
        return False
