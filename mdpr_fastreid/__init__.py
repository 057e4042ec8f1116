"""MDPR (Mutual Distillation Learning for Person Re-Identification, arXiv 2401.06430) for stock FastReID.

Importing this package patches what is broken in stock FastReID on a current stack (``compat``), registers the plugin's
meta-architecture, head, losses and data sets in FastReID's own registries, and adds the plugin's keys to the
defaults that ``fastreid.config.get_cfg()`` gives from then on.
"""

from mdpr_fastreid import compat

compat.apply()

# FastReID can be imported only after compat
from fastreid.config import defaults  # noqa: E402

from mdpr_fastreid import modeling  # noqa: E402, F401
from mdpr_fastreid.config import add_mdpr_config, config_file  # noqa: E402
from mdpr_fastreid.data import datasets  # noqa: E402, F401

add_mdpr_config(defaults._C)

__version__ = "0.2.0"
__all__ = ["ReID", "__version__", "add_mdpr_config", "config_file"]


def __getattr__(name: str) -> object:
    # What only a trained model needs, such as faiss and the evaluator, takes a second to import
    if name == "ReID":
        from mdpr_fastreid.reid import ReID

        return ReID
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
