"""CUHK03 in the 767/700 protocol, both kinds of boxes; the toolbox's own ``CUHK03`` extracts the raw MATLAB file."""

from pathlib import Path
from typing import ClassVar

import numpy as np
from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data.datasets.base import PublishedDataset
from mdpr_fastreid.data.datasets.counts import Count
from mdpr_fastreid.errors import UsageError


class _CUHK03NewProtocol(PublishedDataset):
    """What the hand-labelled and the detected boxes share; see :class:`CUHK03Labeled`."""

    # The ready-split ones first: cuhk03 may hold the raw file only, for the toolbox's CUHK03
    folders = ("cuhk03-np", "CUHK03-NP", "cuhk03", "CUHK03")
    boxes = ""

    def splits(self, folder: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """From the ready-split folders if they are there, else from the protocol's MATLAB file."""
        ready = folder / self.boxes
        if ready.is_dir():
            train, query, gallery = (
                self.named_images(ready / name) for name in ("bounding_box_train", "query", "bounding_box_test")
            )
            return train, query, gallery
        return self._splits_of_protocol(folder)

    def _splits_of_protocol(self, folder: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        protocol = folder / f"cuhk03_new_protocol_config_{self.boxes}.mat"
        images = folder / f"images_{self.boxes}"
        self.require(protocol)
        if not images.is_dir():
            raise UsageError(
                f"{type(self).__name__}: {images.absolute()} is not there. The toolbox's own data set CUHK03 extracts "
                f"it from cuhk-03.mat; or use the ready-split folders {self.boxes}/{{bounding_box_train,query,...}}"
            )
        try:
            table = loadmat(protocol)
            names = [str(np.squeeze(name)) for name in table["filelist"].ravel()]
            labels = table["labels"].ravel()
            chosen = [table[f"{part}_idx"].ravel().astype(int) - 1 for part in ("train", "query", "gallery")]
            train, query, gallery = (
                [(str(images / names[i]), int(labels[i]), int(names[i].split("_")[2]) - 1) for i in part]
                for part in chosen
            )
        except (MatReadError, KeyError, ValueError, IndexError, TypeError, NotImplementedError) as error:
            raise UsageError(f"{protocol} is not a file of the 767/700 protocol: {error}") from error
        return train, query, gallery


@DATASET_REGISTRY.register()
class CUHK03Labeled(_CUHK03NewProtocol):
    """CUHK03, 767/700 protocol, boxes drawn by hand.

    Li et al., "DeepReID: Deep Filter Pairing Neural Network for Person Re-identification", CVPR 2014; protocol: Zhong
    et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017,
    https://github.com/zhunzhong07/person-re-ranking

    Either the protocol's file beside the images that the toolbox's ``CUHK03`` has extracted, or split folders::

        cuhk03/cuhk03_new_protocol_config_labeled.mat, cuhk03/images_labeled/1_001_1_01.png
        cuhk03-np/labeled/{bounding_box_train,query,bounding_box_test}/0003_c1_21.png

    * train: 7,368 images of 767 identities
    * query: 1,400 images of 700 identities
    * gallery: 5,328 images of 700 identities
    * 2 cameras (views) for each identity
    """

    dataset_name = "cuhk03labeled"
    boxes = "labeled"
    published: ClassVar = {"train": Count(767, 7_368), "query": Count(700, 1_400), "gallery": Count(700, 5_328)}


@DATASET_REGISTRY.register()
class CUHK03Detected(_CUHK03NewProtocol):
    """CUHK03, 767/700 protocol, boxes of a detector (DPM); the layout is that of :class:`CUHK03Labeled`.

    * train: 7,365 images of 767 identities
    * query: 1,400 images of 700 identities
    * gallery: 5,332 images of 700 identities
    """

    dataset_name = "cuhk03detected"
    boxes = "detected"
    published: ClassVar = {"train": Count(767, 7_365), "query": Count(700, 1_400), "gallery": Count(700, 5_332)}
