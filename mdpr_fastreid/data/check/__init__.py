"""What is in a data set, and what is wrong with it: behind ``mdpr data``."""

from mdpr_fastreid.data.check.findings import Report, check, pictures_of
from mdpr_fastreid.data.check.masks import find_masks
from mdpr_fastreid.data.check.opening import open_dataset
from mdpr_fastreid.data.check.sheet import sample_sheet

__all__ = ["Report", "check", "find_masks", "open_dataset", "pictures_of", "sample_sheet"]
