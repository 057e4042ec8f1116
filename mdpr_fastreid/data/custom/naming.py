"""A config's data sets by name: FastReID's, the plugin's and, with ``DATASETS.CUSTOM``, a user's own folders."""

import os
import shlex
from collections.abc import Sequence

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.config.names import UnknownNameError, known_names, unknown_name
from mdpr_fastreid.data.custom.dataset import CustomDataset, custom_class, located
from mdpr_fastreid.errors import SettingsError

_SHAPE = 'DATASETS.CUSTOM is a tuple of pairs (name, folder): (("shop", "/data/shop"),)'


def data_root() -> str:
    """The folder that holds the data sets: ``FASTREID_DATASETS``, or ``datasets``."""
    return os.getenv("FASTREID_DATASETS", "datasets")


def dataset_class(cfg: CfgNode, name: str) -> type:
    """The data set that a config calls ``name``.

    Raises:
        UnknownNameError: there is none; the message has the nearest name.
        SettingsError: of :func:`custom_classes`.
    """
    own = custom_classes(cfg)
    if name in own:
        return own[name]
    known = known_names("DATASET_REGISTRY", cfg)
    if name not in known:
        raise UnknownNameError(unknown_name(name, "DATASET", known))
    return DATASET_REGISTRY.get(name)


def custom_classes(cfg: CfgNode) -> dict[str, type[CustomDataset]]:
    """The classes of ``DATASETS.CUSTOM`` by their names.

    Raises:
        SettingsError: the key is no tuple of pairs (name, folder), or a name is one of the toolbox's or the plugin's.
    """
    pairs = cfg.DATASETS.get("CUSTOM", ())
    if pairs and all(isinstance(part, str) for part in pairs):
        raise SettingsError(f"{_SHAPE}; {pairs!r} is one pair, or none, without the tuple around it")
    classes: dict[str, type[CustomDataset]] = {}
    for pair in pairs:
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(p, str) and p for p in pair)):
            raise SettingsError(f"{_SHAPE}; got {pair!r}")
        name, folder = pair
        if name in classes:
            raise SettingsError(f"DATASETS.CUSTOM names {name} twice")
        if name in DATASET_REGISTRY._obj_map:
            raise SettingsError(f"DATASETS.CUSTOM: {name} is a registered data set already; choose another name")
        classes[name] = custom_class(name, folder, cfg.DATASETS.get("CUSTOM_CAMERA_PATTERN", ""))
    return classes


def check_command(cfg: CfgNode, names: Sequence[str]) -> str:
    """The command line that looks closer at data sets: by name, or by folder if they are a user's own."""
    folders = dict(cfg.DATASETS.get("CUSTOM", ()))
    root = data_root()
    words = ["mdpr", "data", *(located(folders[name], root) if name in folders else name for name in names if name)]
    if any(name in folders for name in names) and cfg.DATASETS.get("CUSTOM_CAMERA_PATTERN", ""):
        words += ["--camera-pattern", cfg.DATASETS.CUSTOM_CAMERA_PATTERN]
    return shlex.join(words)
