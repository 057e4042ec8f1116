"""The masks of a data set: which images have one, which parts they show, and what is wrong with them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from fastreid.data.datasets.bases import ImageDataset

from mdpr_fastreid.config.names import registered
from mdpr_fastreid.data.check.images import Inspection, inspect_all
from mdpr_fastreid.data.items import fields_of
from mdpr_fastreid.data.masks.confidence_fields import read_fields
from mdpr_fastreid.data.masks.groups import PART_GROUPS, UNLABELLED, PartGroups, UnknownLabelError
from mdpr_fastreid.data.masks.places import CONFIDENCE_FIELDS, LABEL_IMAGES, MaskPlaces, set_folder
from mdpr_fastreid.data.reading import DamagedImageError, read_labels
from mdpr_fastreid.errors import UsageError

_SIZE = (256, 128)
"""Height and width of the images that confidence fields become maps for."""


class SetMasks(NamedTuple):
    """The masks that a data set has."""

    files: Mapping[str, str]
    """By the paths of images."""
    groups: PartGroups | None = None
    """The grouping of their labels; None for the labels as they are."""
    looked_for: str = ""
    """In words, where a grouping or a folder was asked for and nothing was found."""

    def read(self, path: str) -> np.ndarray | None:
        """The labels of a mask, ``[h, w]``; None for confidence fields without a grouping.

        Raises:
            UsageError: as of ``PartGroups.read``.
        """
        if self.groups is not None:
            return self.groups.read(path, _SIZE)
        if path.endswith(".npy"):
            read_fields(path)
            return None
        return read_labels(path)

    def name_of(self, label: int) -> str:
        """What a label is called: its part, if there is a grouping."""
        return self.groups.parts[label - 1] if self.groups is not None else f"label {label}"


class MaskInspection(NamedTuple):
    """What was found in the file of a mask."""

    path: str
    size: tuple[int, int] | None = None
    """Width and height in pixels of an image of labels."""
    labels: frozenset[int] = frozenset()
    """Those of its parts."""
    error: str = ""
    kind: str = ""
    """Of the error."""


def find_masks(data: ImageDataset, groups: str = "", folder: str = "") -> SetMasks:
    """The masks of a data set: those that its items name, and those that lie beside its images.

    Args:
        data: the set.
        groups: as ``INPUT.MASK.GROUPS``; "" looks for masks of any kind.
        folder: as ``INPUT.MASK.FOLDER``.

    Raises:
        UsageError: there is no such grouping, or one file would be the mask of two images.
    """
    grouping = registered(PART_GROUPS, groups) if groups else None
    layouts = [grouping.layout] if grouping else [LABEL_IMAGES, CONFIDENCE_FIELDS]
    items = data.train + data.query + data.gallery
    places = MaskPlaces(set_folder(data, items), layouts, folder)
    files = {item[0]: fields_of(item).get("mask") for item in places.of_items(items)}
    files = {image: mask for image, mask in files.items() if mask}
    expected = items and not files and (groups or folder)
    return SetMasks(files, grouping, f"for {items[0][0]} {places.looked_for(items[0][0])}" if expected else "")


def inspect_masks(
    masks: SetMasks, progress: Callable[[], object], workers: int | None = None
) -> dict[str, MaskInspection]:
    """Read all masks by threads.

    Returns:
        What was found, by the paths of the images.
    """

    def inspect(path: str) -> MaskInspection:
        try:
            labels = masks.read(path)
        except DamagedImageError as error:
            return MaskInspection(path, error=str(error), kind="damaged mask")
        except UnknownLabelError as error:
            return MaskInspection(path, error=str(error), kind="label outside the table")
        except UsageError as error:
            return MaskInspection(path, error=str(error), kind="mask of another kind")
        if labels is None:
            return MaskInspection(path)
        size = None if path.endswith(".npy") else labels.shape[::-1]
        return MaskInspection(path, size, frozenset(np.unique(labels).tolist()) - {0, UNLABELLED})

    return dict(zip(masks.files, inspect_all(list(masks.files.values()), progress, workers, inspect), strict=True))


def mask_problems(
    splits: Mapping[str, list[tuple]], found: Mapping[str, MaskInspection], images: Mapping[str, Inspection]
) -> tuple[list[tuple[str, str]], list[str]]:
    """What is wrong with the masks of a set.

    Returns:
        Errors, each its kind and its message, and the images without a mask; no such where no image has one.
    """
    errors = []
    for image, mask in found.items():
        if mask.error:
            errors.append((mask.kind, mask.error))
        elif mask.size and not images[image].error and mask.size != images[image].size:
            sizes = "{}x{}, its image {}x{}".format(*mask.size, *images[image].size)
            errors.append(("mask of another size", f"{mask.path}: {sizes} (width x height)"))
    paths = dict.fromkeys(item[0] for items in splits.values() for item in items)
    return errors, [path for path in paths if path not in found] if found else []


def count_masks(masks: SetMasks, splits: Mapping[str, list[tuple]], found: Mapping[str, MaskInspection]) -> dict:
    """Images with and without a mask in each split, and the share of those with one that show a part; {} for no masks.

    Shares are by the names of parts, in the order of classes.
    """
    if not found:
        return {}
    seen = sorted(set().union(*(mask.labels for mask in found.values())))
    labels = range(1, len(masks.groups.parts) + 1) if masks.groups is not None else seen
    counted = {}
    for split, items in splits.items():
        read = [found[item[0]] for item in items if item[0] in found]
        whole = [mask for mask in read if not mask.error]
        visible = {
            masks.name_of(label): sum(label in mask.labels for mask in whole) / len(whole) for label in labels if whole
        }
        counted[split] = {"with": len(read), "without": len(items) - len(read), "visible": visible}
    fields = masks.groups is None and any(path.endswith(".npy") for path in masks.files.values())
    return {"groups": masks.groups.name if masks.groups else "", "ungrouped_fields": fields, "splits": counted}
