"""What stock FastReID needs on a current stack: imports that are gone, and patches described as data.

``import mdpr_fastreid`` calls :func:`apply`. ``python -m mdpr_fastreid doctor`` lists every patch with its state.
"""

import functools
import importlib
from typing import Any

from mdpr_fastreid.compat import imports
from mdpr_fastreid.compat.patching import Patches

# Modules of patches, in alphabetical order: who comes before whom is said by the patches themselves
MODULES = ("cpu_loader", "image_transforms", "models", "process_groups", "ranking", "training")


@functools.cache
def patches() -> Patches:
    """All patches, in the order of their dependencies."""
    return Patches(patch for name in MODULES for patch in importlib.import_module(f"{__name__}.{name}").PATCHES)


def apply() -> None:
    """Make FastReID importable and apply every patch, once; after a failure it can be called again.

    Raises:
        ImportError: FastReID is missing or cannot work here; the message has the line that installs it.
    """
    imports.apply()
    patches().apply()


def stock(target: str) -> Any:
    """FastReID's own object of a target, patched or not: ``stock("fastreid.solver.build:build_optimizer")``."""
    return patches().stock(target)
