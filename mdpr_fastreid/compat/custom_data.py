"""FastReID has no way to train on a folder of one's own images without writing a class, always.

``DATASETS.CUSTOM`` names folders; here each name gets a class in DATASET_REGISTRY when a loader is built. And what a
registry cannot be told through its own means: that a name of an earlier config's may mean another folder now. A feature
rather than a mend, here because it has to hold for the stock builders, too.
"""

import os
import shlex

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.errors import SettingsError

_registered: set[str] = set()


def apply() -> None:
    """Nothing: ``compat.loader_building`` calls :func:`register_custom` when a loader is built."""


def register_custom(cfg: CfgNode | None) -> None:
    """Register the data sets of ``DATASETS.CUSTOM``, instead of those of the config before.

    Raises:
        SettingsError: the key is no tuple of pairs (name, folder), or a name is one of the toolbox's or the plugin's.
    """
    from mdpr_fastreid.data.custom import custom_class

    if cfg is None:
        return
    pairs = cfg.DATASETS.get("CUSTOM", ())
    shape = 'DATASETS.CUSTOM is a tuple of pairs (name, folder): (("shop", "/data/shop"),)'
    if pairs and all(isinstance(part, str) for part in pairs):
        raise SettingsError(f"{shape}; {pairs!r} is one pair, or none, without the tuple around it")
    classes = {}
    for pair in pairs:
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(p, str) and p for p in pair)):
            raise SettingsError(f"{shape}; got {pair!r}")
        name, folder = pair
        if name in classes:
            raise SettingsError(f"DATASETS.CUSTOM names {name} twice")
        if name in DATASET_REGISTRY._obj_map and name not in _registered:
            raise SettingsError(f"DATASETS.CUSTOM: {name} is a registered data set already; choose another name")
        classes[name] = custom_class(name, folder, cfg.DATASETS.get("CUSTOM_CAMERA_PATTERN", ""))
    for name in _registered - classes.keys():  # of an earlier config's, whose folder must not pass for another set
        DATASET_REGISTRY._obj_map.pop(name, None)
    _registered.clear()
    _registered.update(classes)
    DATASET_REGISTRY._obj_map.update(classes)


def check_command(cfg: CfgNode | None, names: tuple[str, ...]) -> str:
    """The command line that looks closer at data sets: by name, or by folder if they are a user's own."""
    from mdpr_fastreid.data.custom import located

    folders = dict(cfg.DATASETS.get("CUSTOM", ())) if cfg is not None else {}
    root = os.getenv("FASTREID_DATASETS", "datasets")
    words = ["mdpr", "data", *(located(folders[name], root) if name in folders else name for name in names if name)]
    if any(name in folders for name in names) and cfg.DATASETS.get("CUSTOM_CAMERA_PATTERN", ""):
        words += ["--camera-pattern", cfg.DATASETS.CUSTOM_CAMERA_PATTERN]
    return shlex.join(words)
