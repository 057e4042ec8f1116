"""MDKT (arXiv 2201.08887) on the plugin's public interfaces: importing it registers its parts and its keys."""

import mdpr_fastreid  # noqa: F401  # isort: skip  (patches FastReID before it is imported)

from mdkt import config, heads, losses, meta_arch, samplers

__all__ = ["config", "heads", "losses", "meta_arch", "samplers"]
