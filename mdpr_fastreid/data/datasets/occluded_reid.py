"""Occluded-ReID."""

import os
import re
from pathlib import Path
from typing import ClassVar

from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data.datasets.base import PublishedDataset
from mdpr_fastreid.data.datasets.counts import Count
from mdpr_fastreid.data.listing import images_in
from mdpr_fastreid.errors import UsageError


@DATASET_REGISTRY.register()
class OccludedReID(PublishedDataset):
    """Occluded-ReID: a test set, filmed by hand-held cameras; there is nothing to train on.

    Zhuo et al., "Occluded Person Re-identification", ICME 2018;
    https://github.com/tinajia2012/ICME2018_Occluded-Person-Reidentification_datasets

    ::

        Occluded_REID/{occluded_body_images,whole_body_images}/001/001_01.tif

    * query: 1,000 occluded images of 200 identities
    * gallery: 1,000 whole-body images of the same 200 identities

    No cameras are given. As the papers do, every gallery image counts for every query: queries have camera 0, the
    gallery has camera 1.
    """

    dataset_name = "occludedreid"
    folders = ("Occluded_REID", "Occluded-REID", "Occluded_ReID", "OccludedReID")
    published: ClassVar = {"query": Count(200, 1_000), "gallery": Count(200, 1_000)}

    def splits(self, folder: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """Nothing, the occluded images, the whole-body images."""
        query, gallery = occluded_and_whole(self, folder)
        return [], query, gallery


def occluded_and_whole(data: PublishedDataset, folder: Path, camera: str | None = None) -> tuple[list, list]:
    """The items of ``occluded_body_images/<identity>/`` and of ``whole_body_images/<identity>/`` in a folder.

    Args:
        data: the set, for its messages.
        folder: holds the two.
        camera: finds the camera (one group, from 1) in a file's name; without it occluded images are camera 0, whole 1.

    Raises:
        UsageError: a folder is missing, an identity is no number, or a file has no camera in its name.
    """
    parts = []
    for number, name in enumerate(("occluded_body_images", "whole_body_images")):
        data.require(folder / name)
        items = []
        for identity in sorted(path for path in (folder / name).iterdir() if path.is_dir()):
            if not identity.name.isdigit():
                raise UsageError(f"{type(data).__name__}: {identity} is not named by the number of an identity")
            for path in images_in(identity):
                found = camera and re.search(camera, os.path.basename(path))
                if camera and not found:
                    raise UsageError(f"{type(data).__name__}: {path} has no camera in its name ({camera})")
                items.append((path, int(identity.name), int(found[1]) - 1 if found else number))
        parts.append(items)
    return parts[0], parts[1]
