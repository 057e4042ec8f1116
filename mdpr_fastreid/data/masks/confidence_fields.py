"""Masks as PifPaf confidence fields: keypoints and limbs, one channel each, grouped and turned into label maps.

The rule is that of BPBreID (Somers et al., "Body Part-Based Representation Learning for Occluded Person
Re-Identification", WACV 2023), so its released masks give its targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from fastreid.utils.file_io import PathManager
from torch.nn import functional as F

from mdpr_fastreid.data.masks.groups import PART_GROUPS, PartGroups
from mdpr_fastreid.data.masks.places import CONFIDENCE_FIELDS
from mdpr_fastreid.data.reading import DamagedImageError, reason_of
from mdpr_fastreid.errors import UsageError

CHANNELS = 36
"""17 keypoints in COCO's order, and 19 limbs between them; left before right.

0 nose, 1-2 eyes, 3-4 ears, 5-6 shoulders, 7-8 elbows, 9-10 wrists, 11-12 hips, 13-14 knees, 15-16 ankles; 17 left
ankle-knee, 18 left knee-hip, 19 right ankle-knee, 20 right knee-hip, 21 hips, 22 left shoulder-hip, 23 right
shoulder-hip, 24 shoulders, 25 left shoulder-elbow, 26 right shoulder-elbow, 27 left elbow-wrist, 28 right elbow-wrist,
29 eyes, 30 nose-left eye, 31 nose-right eye, 32 left eye-ear, 33 right eye-ear, 34 left ear-shoulder, 35 right
ear-shoulder.
"""

CELL = 4
"""Pixels a side of a cell of the label map."""

_COARSE = 8
_PRESENT, _SHARPNESS = 0.5, 15.0


@dataclass(frozen=True)
class ConfidenceFieldGroups(PartGroups):
    """A grouping of the channels of confidence fields; a channel may belong to several parts.

    Args:
        groups: the channels of each part.

    Raises:
        UsageError: as of :class:`PartGroups`, or there is no such channel.
    """

    layout, of_image_size = CONFIDENCE_FIELDS, False

    def __post_init__(self) -> None:
        super().__post_init__()
        for part, channels in self.groups.items():
            if not channels or not all(0 <= channel < CHANNELS for channel in channels):
                raise UsageError(
                    f"part grouping {self.name}: {part} has channels {tuple(channels)}; they are from 0 to "
                    f"{CHANNELS - 1}, one or more"
                )

    def read(self, path: str, size: Sequence[int]) -> np.ndarray:
        """As of :class:`PartGroups`; each cell's class stands at its 4 x 4 pixels, so ``[h, w]`` is about ``size``."""
        if not path.endswith(".npy"):
            raise UsageError(
                f"{path}: part grouping {self.name} (INPUT.MASK.GROUPS) reads confidence fields, files named .npy"
            )
        if len(size) != 2 or min(size) < _COARSE:
            raise UsageError(
                f"part grouping {self.name} (INPUT.MASK.GROUPS) makes maps for images of one size: INPUT.SIZE_TRAIN "
                f"and SIZE_TEST are to be two numbers, each of {_COARSE} or more; got {list(size)}"
            )
        height, width = size
        labels = self.labels(read_fields(path), size, (height // CELL, width // CELL))
        return labels.repeat(CELL, axis=0).repeat(CELL, axis=1)

    def labels(self, fields: np.ndarray, image_size: Sequence[int], map_size: Sequence[int]) -> np.ndarray:
        """The class of each cell.

        Args:
            fields: ``[36, h, w]``.
            image_size: height and width that the image is resized to.
            map_size: of the label map.

        Returns:
            Classes of ``map_size``, in uint8. Parts that share a channel can tie; the first one of them counts.
        """
        maps = self.probabilities(fields)
        height, width = (length // _COARSE for length in image_size)
        rows, columns = (np.arange(new) * old // new for new, old in zip((height, width), maps.shape[1:], strict=True))
        coarse = torch.from_numpy(maps[:, rows][:, :, columns])
        fine = F.interpolate(coarse[None], size=tuple(map_size), mode="bilinear", align_corners=True)[0]
        return fine.numpy().argmax(axis=0).astype(np.uint8)

    def probabilities(self, fields: np.ndarray) -> np.ndarray:
        """Softmax of 15 times background and parts: ``[36, h, w]`` to ``[K + 1, h, w]``, in float64.

        A part is the maximum of its channels. Background is 1 where all parts are below 0.5, and 0 elsewhere.
        """
        parts = np.stack([fields[list(channels)].max(axis=0) for channels in self.groups.values()])
        parts = parts.astype(np.float64).clip(0, 1)
        background = (parts < _PRESENT).all(axis=0)
        powers = np.exp(_SHARPNESS * np.concatenate([background[None], parts]))
        return powers / powers.sum(axis=0)


def read_fields(path: str) -> np.ndarray:
    """The confidence fields of a file, ``[36, h, w]`` in floating point.

    Raises:
        DamagedImageError: it cannot be read, has another shape or type, or numbers that are not finite.
    """
    try:
        with PathManager.open(path, "rb") as file:
            fields = np.load(file, allow_pickle=False)
    except Exception as error:  # a damaged header makes NumPy raise anything, up to TokenError and MemoryError
        raise DamagedImageError(f"{path}: cannot be read as confidence fields ({reason_of(error)})") from None
    shape, dtype = getattr(fields, "shape", ()), getattr(fields, "dtype", np.dtype(object))
    if len(shape) != 3 or shape[0] != CHANNELS or 0 in shape or dtype.kind != "f":
        raise DamagedImageError(
            f"{path}: confidence fields are floating-point numbers [{CHANNELS}, h, w]; it holds {dtype} {list(shape)}"
        )
    if not np.isfinite(fields).all():
        raise DamagedImageError(f"{path}: confidence fields are finite; it holds NaN or infinity")
    return fields


_HEAD = (*range(5), *range(29, 36))

# As published: 21 (the hips) is in the left leg and not in the right one, 23 has no partner 22
PART_GROUPS.register(
    ConfidenceFieldGroups(
        "pifpaf_eight",
        {
            "head": _HEAD,
            "left arm": (5, 7, 9, 25, 27),
            "right arm": (6, 8, 10, 26, 28),
            "torso": (11, 12, 21, 22, 23, 24),
            "left leg": (13, 17, 18, 21),
            "right leg": (14, 19, 20),
            "left foot": (15,),
            "right foot": (16,),
        },
        mirror=((2, 3), (5, 6), (7, 8)),
    )
)
PART_GROUPS.register(
    ConfidenceFieldGroups(
        "pifpaf_five_v",
        {
            "head": _HEAD,
            "upper arms and torso": (5, 6, 7, 8, 24, 25, 26),
            "lower arms and torso": (9, 10, 11, 12, 23, 27, 28),
            "legs": (11, 12, 13, 14, 17, 18, 19, 20),
            "feet": (15, 16),
        },
    )
)
