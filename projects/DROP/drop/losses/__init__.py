"""One loss a file, and the bank that the triplet loss compares with."""

from drop.losses.parsing import UNKNOWN, ParsingLoss, part_targets, target_visibility
from drop.losses.part_compactness import LabelledParts, PartCompactnessTriplet, Triplets
from drop.losses.part_memory import PartMemory

__all__ = [
    "UNKNOWN",
    "LabelledParts",
    "ParsingLoss",
    "PartCompactnessTriplet",
    "PartMemory",
    "Triplets",
    "part_targets",
    "target_visibility",
]
