"""What stock FastReID needs on a current stack: one small file per breakage, each with ``apply()``.

Every file says what broke, since when, and when it can go. ``apply`` is called by ``import mdpr_fastreid``.
"""

import importlib

# In this order: the toolbox has to be importable before anything in it can be mended
MENDS = (
    "removed_imports",
    "spawned_processes",
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


def apply() -> None:
    """Mend every breakage, once; a mend does nothing where the toolbox already works.

    Raises:
        ImportError: FastReID is missing or cannot work here; the message has the line that installs it.
    """
    global _applied
    if _applied:
        return
    for mend in MENDS:
        importlib.import_module(f"{__name__}.{mend}").apply()
    _applied = True
