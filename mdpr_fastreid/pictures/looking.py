"""From image files to where a model looks in them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from fastreid.config import CfgNode
from PIL import Image
from torch import nn

from mdpr_fastreid.data.fields import IMAGES
from mdpr_fastreid.data.reading import DamagedImageError, read_image
from mdpr_fastreid.data.transforms import build_transforms
from mdpr_fastreid.inference.attention import attention_maps
from mdpr_fastreid.pictures.attention_sheet import Looked

_BATCH = 16


def look(cfg: CfgNode, model: nn.Module, paths: Sequence[str]) -> tuple[list[Looked], list[DamagedImageError]]:
    """Where a model looks in image files.

    Args:
        cfg: with the size of the input.
        model: see :func:`mdpr_fastreid.inference.attention.attention_maps`.
        paths: of the files.

    Returns:
        A row for each file that can be read, in order, and the errors of the others.

    Raises:
        UsageError: the model has no maps.
    """
    transforms = build_transforms(cfg, is_train=False)
    pictures: list[tuple[str, Image.Image]] = []
    damaged: list[DamagedImageError] = []
    for path in paths:
        try:
            pictures.append((Path(path).name, read_image(path)))
        except DamagedImageError as error:
            damaged.append(error)
    rows: list[Looked] = []
    for start in range(0, len(pictures), _BATCH):
        part = pictures[start : start + _BATCH]
        batch = torch.stack([transforms({IMAGES: picture})[IMAGES] for _, picture in part])
        maps = attention_maps(model, batch.to(model.device).float())
        for number, (name, picture) in enumerate(part):
            rows.append(Looked(name, picture, {key: values[number] for key, values in maps.items()}))
    return rows, damaged


def stripes_of(model: nn.Module) -> int:
    """How many stripes the model's hard content branch has; 0 for none."""
    return len(getattr(getattr(model, "hard", None), "stripe_embeddings", ()))
