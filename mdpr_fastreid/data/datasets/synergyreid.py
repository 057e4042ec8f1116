"""SynergyReID: basketball players."""

import os
import re
from pathlib import Path
from typing import ClassVar

from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data.datasets.base import JUNK, PublishedDataset
from mdpr_fastreid.data.datasets.counts import Count
from mdpr_fastreid.data.listing import images_in
from mdpr_fastreid.errors import UsageError

_UNKNOWN_QUERY, _UNKNOWN_GALLERY = JUNK, JUNK - 1


@DATASET_REGISTRY.register()
class SynergyReID(PublishedDataset):
    """SynergyReID, of the DeepSportradar player re-identification challenge (ACM MMSports 2022).

    Van Zandycke et al., "DeepSportradar-v1: Computer Vision Dataset for Sports Understanding with High Quality
    Annotations", MMSports 2022; https://github.com/DeepSportRadar/player-reidentification-challenge

    ::

        synergyreid/reid_training/<identity>_*.jpeg
        synergyreid/reid_test/{query,gallery}/<identity>_*.jpeg
        synergyreid/reid_challenge/{query,gallery}/*.jpeg           (SynergyReIDChallenge)

    * train: 8,569 images of 436 identities
    * query: 50 images of 50 identities
    * gallery: 910 images of 50 identities
    * challenge: 468 queries, 8,703 gallery images, unlabelled

    Assumed, as the challenge's description was not available: these counts (as its participants report them), and that
    names begin with the identity's number. All images of a game are one camera's, and every gallery image counts for
    every query: queries have camera 0, the gallery has camera 1.
    """

    dataset_name = "synergyreid"
    folders = ("synergyreid", "synergyreid_data", "SynergyReID")
    published: ClassVar = {"train": Count(436, 8_569), "query": Count(50, 50), "gallery": Count(50, 910)}

    def splits(self, folder: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """The images of ``reid_training`` and of ``reid_test``."""
        train, query, gallery = (
            self._images(folder / name, camera)
            for name, camera in (("reid_training", 0), ("reid_test/query", 0), ("reid_test/gallery", 1))
        )
        return train, query, gallery

    def _images(self, folder: Path, camera: int) -> list[tuple]:
        self.require(folder)
        items = []
        for path in images_in(folder):
            identity = re.match(r"\d+", os.path.basename(path))
            if identity is None:
                raise UsageError(f"SynergyReID: {path} does not begin with the number of an identity")
            items.append((path, int(identity[0]), camera))
        return items


@DATASET_REGISTRY.register()
class SynergyReIDChallenge(PublishedDataset):
    """The unlabelled challenge split of :class:`SynergyReID`: to extract features from, not to score.

    Query identities are -1 and gallery identities -2, so that nothing matches and an evaluation says so, instead of
    reporting a figure.

    * query: 468 images
    * gallery: 8,703 images
    """

    dataset_name = "synergyreidchallenge"
    folders = SynergyReID.folders
    _junk_pids: ClassVar = [_UNKNOWN_QUERY, _UNKNOWN_GALLERY]
    published: ClassVar = {"query": Count(1, 468), "gallery": Count(1, 8_703)}

    def splits(self, folder: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """Nothing, and the images of ``reid_challenge``."""
        query, gallery = folder / "reid_challenge/query", folder / "reid_challenge/gallery"
        self.require(query, gallery)
        return (
            [],
            [(path, _UNKNOWN_QUERY, 0) for path in images_in(query)],
            [(path, _UNKNOWN_GALLERY, 1) for path in images_in(gallery)],
        )
