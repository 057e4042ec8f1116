"""MDPR (Mutual Distillation Learning for Person Re-Identification, arXiv 2401.06430) for stock FastReID.

Importing this package mends what stock FastReID lacks on a current stack (``compat``) and registers
the plugin's meta-architecture, head, losses and data sets in FastReID's own registries.
"""

from mdpr_fastreid import compat

compat.apply()

from mdpr_fastreid.config import add_mdpr_config  # noqa: E402  (FastReID imports only after compat)

__version__ = "0.1.0"
__all__ = ["add_mdpr_config", "__version__"]
