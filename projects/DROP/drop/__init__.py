"""DROP (arXiv 2401.18032) on the plugin's public interfaces: importing it registers its parts and its keys."""

import mdpr_fastreid  # noqa: F401  # isort: skip  (patches FastReID before it is imported)

from drop import backbones, config, evaluation, heads, losses, meta_arch

__all__ = ["backbones", "config", "evaluation", "heads", "losses", "meta_arch"]
