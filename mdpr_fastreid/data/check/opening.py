"""Finds a data set by its registered name or by its folder."""

import os
from pathlib import Path

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from mdpr_fastreid.config.names import registered
from mdpr_fastreid.data.custom import custom_class
from mdpr_fastreid.errors import UsageError


def open_dataset(name: str, root: str, camera_pattern: str = "") -> ImageDataset:
    """The data set that is registered as ``name``, or the user's own in the folder ``name``.

    Args:
        name: of ``DATASETS.NAMES``, or a folder.
        root: the data root.
        camera_pattern: for a folder, as ``DATASETS.CUSTOM_CAMERA_PATTERN``.

    Raises:
        UsageError: there is no such set or folder, or it cannot be read.
    """
    known = name in DATASET_REGISTRY._obj_map
    if not known and os.path.isdir(name):
        folder = Path(name)
        return custom_class(folder.resolve().name, folder, camera_pattern)(root=root)
    if not known and (os.path.exists(name) or "/" in name or "\\" in name or not name):
        raise UsageError(f"{name!r} is no folder")
    dataset = registered(DATASET_REGISTRY, name)
    try:
        return dataset(root=root)
    except UsageError:
        raise
    except (AssertionError, RuntimeError, OSError) as error:
        raise UsageError(
            f"data set {name}: {error}. It is looked for in {Path(root).absolute()} (environment variable "
            f"FASTREID_DATASETS); `mdpr prepare {name}` says where it comes from and belongs"
        ) from error
