"""Data sets that the plugin adds to FastReID's DATASET_REGISTRY, one a file; importing registers them."""

from mdpr_fastreid.data.datasets import synthreid

__all__ = ["synthreid"]
