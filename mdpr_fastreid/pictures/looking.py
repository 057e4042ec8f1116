"""From image files to where a model looks in them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from mdpr_fastreid.data.reading import DamagedImageError, read_image
from mdpr_fastreid.embedding.networks import EmbeddingNetwork
from mdpr_fastreid.pictures.attention_sheet import Looked

_BATCH = 16


def look(network: EmbeddingNetwork, paths: Sequence[str]) -> tuple[list[Looked], list[DamagedImageError]]:
    """Where a model looks in image files.

    Args:
        network: not folded, see :func:`mdpr_fastreid.inference.attention.attention_maps`.
        paths: of the files.

    Returns:
        A row for each file that can be read, in order, and the errors of the others.

    Raises:
        UsageError: the model has no maps.
    """
    rows: list[Looked] = []
    damaged: list[DamagedImageError] = []
    for start in range(0, len(paths), _BATCH):
        names, pictures = [], []
        for path in paths[start : start + _BATCH]:
            try:
                pictures.append(read_image(path))
                names.append(Path(path).name)
            except DamagedImageError as error:
                damaged.append(error)
        if pictures:
            maps = network.maps(torch.stack([network.resize(picture) for picture in pictures]))
            rows += map(Looked, names, pictures, maps)
    return rows, damaged


def stripes_of(model: nn.Module) -> int:
    """How many stripes the model's hard content branch has; 0 for none."""
    return len(getattr(getattr(model, "hard", None), "stripe_embeddings", ()))
