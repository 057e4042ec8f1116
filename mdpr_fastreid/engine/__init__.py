"""Training and evaluation of any FastReID config: what ``train_net.py`` is made of.

Names are imported when they are asked for: patches in ``compat`` use some of these modules, when others are not applied
yet.
"""

import importlib
from typing import Any

_MODULES = {
    "Trainer": "mdpr_fastreid.engine.trainer",
    "config_from": "mdpr_fastreid.config",
    "load_for_evaluation": "mdpr_fastreid.weights",
    "make_output_dir": "mdpr_fastreid.engine.results",
    "print_results": "mdpr_fastreid.engine.results",
    "print_written_files": "mdpr_fastreid.engine.results",
    "restarted_by_torchrun": "mdpr_fastreid.engine.torchrun",
    "run": "mdpr_fastreid.engine.command_line",
    "set_aside_checkpoints": "mdpr_fastreid.engine.checkpoints",
    "seed_setup": "mdpr_fastreid.engine.seeding",
    "train_or_evaluate": "mdpr_fastreid.engine.job",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
