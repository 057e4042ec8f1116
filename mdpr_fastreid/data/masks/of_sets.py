"""The masks of the data sets of a config: found before anything is read, and counted where they have to be there."""

import logging

from fastreid.config import CfgNode
from fastreid.data.datasets.bases import ImageDataset

from mdpr_fastreid.data.items import fields_of
from mdpr_fastreid.data.masks.groups import groups_of
from mdpr_fastreid.data.masks.places import LABEL_IMAGES, MaskPlaces, set_folder
from mdpr_fastreid.errors import UsageError

logger = logging.getLogger("fastreid.data.masks")

MASK = "mask"
"""The field's name in ``INPUT.FIELDS`` and in ``Item.fields``."""


def with_masks(cfg: CfgNode, data: ImageDataset, items: list[tuple]) -> list[tuple]:
    """Items of a data set, with the masks that lie beside them; as they are unless ``INPUT.FIELDS`` asks for masks.

    Raises:
        UsageError: there is no such grouping, or one file would be the mask of two images.
    """
    return _places(cfg, data, items).of_items(items) if _wanted(cfg) else items


def training_items_with_masks(cfg: CfgNode, name: str, data: ImageDataset) -> list[tuple]:
    """The training items of a set as :func:`with_masks` gives them.

    Args:
        cfg: ``INPUT.MASK.MISSING`` says whether images without a mask are an error.
        name: of the set.
        data: the set.

    Raises:
        UsageError: as of :func:`with_masks`, or images have no mask and may not do without.
    """
    items = with_masks(cfg, data, data.train)
    missing = [item[0] for item in items if not fields_of(item).get(MASK)] if _wanted(cfg) else []
    if not missing:
        return items
    places, example = _places(cfg, data, items), missing[0]
    none = len(missing) == len(items)
    line = f"{name} has no masks" if none else f"{name}: {len(missing):,} of {len(items):,} images have no mask"
    line = f"{line}: for {example} {places.looked_for(example)}"
    if cfg.INPUT.MASK.MISSING != "ignore":
        raise UsageError(f"{line}. {_way_out(none)}")
    logger.warning("%s; their pixels are unlabelled (INPUT.MASK.MISSING)", line)
    return items


def _way_out(none: bool) -> str:
    ignoring = "INPUT.MASK.MISSING ignore trains on such images as unlabelled"
    if not none:
        return ignoring
    return f"Put masks there, name their folder in INPUT.MASK.FOLDER or their kind in INPUT.MASK.GROUPS; {ignoring}"


def _wanted(cfg: CfgNode) -> bool:
    return MASK in cfg.INPUT.get("FIELDS", ())


def _places(cfg: CfgNode, data: ImageDataset, items: list[tuple]) -> MaskPlaces:
    groups = groups_of(cfg)
    layout = LABEL_IMAGES if groups is None else groups.layout
    return MaskPlaces(set_folder(data, items), [layout], cfg.INPUT.MASK.FOLDER)
