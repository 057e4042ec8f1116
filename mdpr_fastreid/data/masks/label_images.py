"""Masks as images of labels, and what the labels of known parsing networks and of SynthReID mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mdpr_fastreid.data.masks.groups import PART_GROUPS, UNLABELLED, PartGroups, UnknownLabelError
from mdpr_fastreid.data.masks.places import LABEL_IMAGES
from mdpr_fastreid.data.reading import read_labels
from mdpr_fastreid.errors import UsageError

_BACKGROUND, _UNKNOWN = 0, -1


@dataclass(frozen=True)
class LabelImageGroups(PartGroups):
    """A grouping of the labels of grey or palette images.

    Label 255 stays ``UNLABELLED``; any label that is in no part, nor background, is an error.

    Args:
        groups: the labels of each part.
        background: the labels that are none.

    Raises:
        UsageError: as of :class:`PartGroups`, or a label is in two places, or not from 0 to 254.
    """

    background: Sequence[int] = (0,)

    layout, of_image_size = LABEL_IMAGES, True

    def __post_init__(self) -> None:
        super().__post_init__()
        labels = [label for part in (self.background, *self.groups.values()) for label in part]
        if len(set(labels)) < len(labels) or not all(0 <= label < UNLABELLED for label in labels):
            raise UsageError(
                f"part grouping {self.name}: labels {labels} are to be from 0 to {UNLABELLED - 1}, each in one part"
            )

    @cached_property
    def _classes(self) -> np.ndarray:
        """The class of each label, ``[256]``."""
        classes = np.full(256, _UNKNOWN, np.int16)
        classes[UNLABELLED] = UNLABELLED
        classes[list(self.background)] = _BACKGROUND
        for number, labels in enumerate(self.groups.values(), start=1):
            classes[list(labels)] = number
        return classes

    def read(self, path: str, size: Sequence[int]) -> np.ndarray:
        """As of :class:`PartGroups`; ``[h, w]`` is the size that the file has."""
        refuse_arrays(path, f"part grouping {self.name}")
        labels = read_labels(path)
        classes = self._classes[labels]
        if classes.min() == _UNKNOWN:
            unknown = ", ".join(map(str, np.unique(labels[classes == _UNKNOWN])))
            raise UnknownLabelError(
                f"{path}: label {unknown} is not in the table of part grouping {self.name} (INPUT.MASK.GROUPS)"
            )
        return classes.astype(np.uint8)


def refuse_arrays(path: str, reader: str) -> None:
    """Raise a UsageError for a file of arrays where an image of labels is to be read."""
    if path.endswith(".npy"):
        raise UsageError(
            f"{path}: {reader} reads images of labels; confidence fields need a grouping of theirs in "
            "INPUT.MASK.GROUPS (pifpaf_eight, pifpaf_five_v)"
        )


_SYNTHREID = {"hair": (1,), "face": (2,), "upper": (3,), "arms": (4,), "lower": (5,), "legs": (6,), "shoes": (7,)}

# Clothing moves no limb to another part: sleeves are label 3, bare arms 4
PART_GROUPS.register(
    LabelImageGroups(
        "synthreid_five", {"head": (1, 2), "torso and arms": (3, 4), "legs": (5, 6), "shoes": (7,), "bag": (8,)}
    )
)
# What everybody has, so that a part that is missing is a part that is hidden; who carries a bag is another question
PART_GROUPS.register(
    LabelImageGroups("synthreid_four", {"head": (1, 2), "torso and arms": (3, 4, 8), "legs": (5, 6), "shoes": (7,)})
)
PART_GROUPS.register(LabelImageGroups("synthreid_eight", {**_SYNTHREID, "bag": (8,)}))
# ATR, Liang et al., "Deep Human Parsing with Active Template Regression", TPAMI 2015: 1 hat, 2 hair, 3 sunglasses,
# 4 upper clothes, 5 skirt, 6 pants, 7 dress, 8 belt, 9 and 10 shoes, 11 face, 12 and 13 legs, 14 and 15 arms, 16 bag,
# 17 scarf
PART_GROUPS.register(
    LabelImageGroups(
        "atr",
        {
            "head": (1, 2, 3, 11, 17),
            "torso": (4, 7, 8, 14, 15),
            "legs": (5, 6, 12, 13),
            "shoes": (9, 10),
            "bag": (16,),
        },
    )
)
# LIP, Gong et al., "Look into Person", CVPR 2017: 1 hat, 2 hair, 3 glove, 4 sunglasses, 5 upper clothes, 6 dress,
# 7 coat, 8 socks, 9 pants, 10 jumpsuits, 11 scarf, 12 skirt, 13 face, 14 and 15 arms, 16 and 17 legs, 18 and 19 shoes
PART_GROUPS.register(
    LabelImageGroups(
        "lip",
        {
            "head": (1, 2, 4, 11, 13),
            "torso": (3, 5, 6, 7, 10, 14, 15),
            "legs": (8, 9, 12, 16, 17),
            "shoes": (18, 19),
        },
    )
)
