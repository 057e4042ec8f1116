"""How a mend takes the place of a function of FastReID's: everywhere the old one is already bound."""

import sys
from collections.abc import Callable
from types import FunctionType, ModuleType


def replace(module: ModuleType, name: str, new: Callable) -> Callable:
    """Put ``new`` in the place of ``module.name``, also where other modules imported it by name.

    ``from fastreid.solver import build_optimizer`` binds the function in the importing module, so
    assigning it in its own module alone would mend only some of its callers.

    Args:
        module: the module of FastReID's that defines the function or class.
        name: its name there.
        new: what every caller gets instead.

    Returns:
        What ``name`` was before.
    """
    old = getattr(module, name)
    if isinstance(old, FunctionType):
        new.__doc__ = new.__doc__ or old.__doc__
    for other in [module, *sys.modules.values()]:
        namespace = getattr(other, "__dict__", None) or {}
        for bound_name in [key for key, value in list(namespace.items()) if value is old]:
            if other is not sys.modules.get(new.__module__):
                setattr(other, bound_name, new)
    return old
