"""What stock FastReID needs on a current stack: imports that are gone, and patches described as data.

``import mdpr_fastreid`` calls :func:`apply`. ``python -m mdpr_fastreid doctor`` lists every patch with its state.
"""

import functools
import importlib
from typing import Any

from mdpr_fastreid.compat import imports
from mdpr_fastreid.compat.patching import Patches

# Modules of patches, in alphabetical order: who comes before whom is said by the patches themselves
MODULES: tuple[str, ...] = ()

# Not yet described as data; in this order
MENDS = (
    "registry_names",
    "cpu_device",
    "byte_batches",
    "cpu_loader",
    "loader_building",
    "custom_data",
    "resized_images",
    "damaged_images",
    "sampler_items",
    "image_transforms",
    "batch_copies",
    "input_batches",
    "weight_files",
    "pretrained_weights",
    "packaged_configs",
    "optimizers",
    "schedules",
    "mixed_precision",
    "process_groups",
    "checkpoint_files",
    "training_loop",
    "logged_scalars",
    "seeding",
    "ranking",
    "distances",
    "evaluator",
)

_applied = False


@functools.cache
def patches() -> Patches:
    """All patches, in the order of their dependencies."""
    return Patches(patch for name in MODULES for patch in importlib.import_module(f"{__name__}.{name}").PATCHES)


def apply() -> None:
    """Make FastReID importable and apply every patch, once; after a failure it can be called again.

    Raises:
        ImportError: FastReID is missing or cannot work here; the message has the line that installs it.
    """
    global _applied
    imports.apply()
    patches().apply()
    if _applied:
        return
    for mend in MENDS:
        importlib.import_module(f"{__name__}.{mend}").apply()
    _applied = True


def stock(target: str) -> Any:
    """FastReID's own object of a target, patched or not: ``stock("fastreid.solver.build:build_optimizer")``."""
    return patches().stock(target)
