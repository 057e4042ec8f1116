"""Part masks: what their labels mean, which files hold them, where these lie; see ``docs/how-to/masks.md``."""

from mdpr_fastreid.data.masks.confidence_fields import ConfidenceFieldGroups
from mdpr_fastreid.data.masks.groups import PART_GROUPS, UNLABELLED, PartGroups, part_groups
from mdpr_fastreid.data.masks.label_images import LabelImageGroups
from mdpr_fastreid.data.masks.overlay import legend, overlaid

__all__ = [
    "PART_GROUPS",
    "UNLABELLED",
    "ConfidenceFieldGroups",
    "LabelImageGroups",
    "PartGroups",
    "legend",
    "overlaid",
    "part_groups",
]
