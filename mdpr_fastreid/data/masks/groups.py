"""Part groupings: which class each pixel of a mask has, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from fastreid.config import CfgNode
from fastreid.utils.registry import Registry

from mdpr_fastreid.config.names import registered
from mdpr_fastreid.data.masks.places import Layout
from mdpr_fastreid.errors import UsageError

UNLABELLED = 255
"""The class of a pixel of which nothing is known: all of an image without a mask."""


class UnknownLabelError(UsageError):
    """A label that the table of a grouping does not have; the message names the file and the label."""


@dataclass(frozen=True)
class PartGroups:
    """A grouping: what a file holds becomes the classes 0 (background) to K.

    :class:`~mdpr_fastreid.data.masks.LabelImageGroups` and
    :class:`~mdpr_fastreid.data.masks.ConfidenceFieldGroups` are the two kinds.

    Args:
        name: in ``INPUT.MASK.GROUPS``.
        groups: the name of each part, in the order of the classes from 1 on, with what belongs to it in a file.
        mirror: pairs of classes that a horizontal flip swaps: a left arm becomes a right one.

    Raises:
        UsageError: there is no part, too many, or ``mirror`` pairs what is no part, or a part twice.
    """

    name: str
    groups: Mapping[str, Sequence[int]]
    mirror: Sequence[tuple[int, int]] = ()

    layout: ClassVar[Layout]
    """Where the files lie."""
    of_image_size: ClassVar[bool] = False
    """Whether a file has a label for each pixel of its image."""

    def __post_init__(self) -> None:
        count = len(self.groups)
        if not 1 <= count < UNLABELLED:
            raise UsageError(f"part grouping {self.name}: {count} parts; 1 to {UNLABELLED - 1} are possible")
        swapped = [one for pair in self.mirror for one in pair]
        if len(set(swapped)) < len(swapped) or not all(1 <= one <= count for one in swapped):
            raise UsageError(
                f"part grouping {self.name}: mirror {tuple(self.mirror)} is to pair classes from 1 to {count}, each "
                "in one pair at most"
            )

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the K parts; part k is class k + 1."""
        return tuple(self.groups)

    def read(self, path: str, size: Sequence[int]) -> np.ndarray:
        """The classes that a file gives.

        Args:
            path: of the file.
            size: height and width that the image is resized to.

        Returns:
            ``[h, w]`` in uint8: 0 background, 1 to K the parts, ``UNLABELLED``.

        Raises:
            DamagedImageError: the file cannot be read.
            UsageError: it is of another kind, or holds what the grouping does not know.
        """
        raise NotImplementedError


class _GroupsRegistry(Registry):
    """FastReID's registry, of groupings by their own names."""

    def register(self, groups: PartGroups) -> PartGroups:
        self._do_register(groups.name, groups)
        return groups


PART_GROUPS = _GroupsRegistry("PART_GROUPS")
"""Groupings by the names that ``INPUT.MASK.GROUPS`` uses."""


def part_groups(cfg: CfgNode) -> PartGroups:
    """The grouping of a config.

    Raises:
        UsageError: ``INPUT.MASK.GROUPS`` is empty, or no grouping has this name.
    """
    name = cfg.INPUT.MASK.GROUPS
    if not name:
        known = ", ".join(sorted(PART_GROUPS._obj_map))
        raise UsageError(f"INPUT.MASK.GROUPS names no part grouping; there are {known}")
    return registered(PART_GROUPS, name)


def groups_of(cfg: CfgNode) -> PartGroups | None:
    """As :func:`part_groups`, but None where ``INPUT.MASK.GROUPS`` is empty."""
    return part_groups(cfg) if cfg.INPUT.MASK.GROUPS else None
