"""A user's own images as a data set of FastReID's, without a class: see ``docs/reference/datasets.md``."""

from mdpr_fastreid.data.custom.dataset import CustomDataset, custom_class, located

__all__ = ["CustomDataset", "custom_class", "located"]
