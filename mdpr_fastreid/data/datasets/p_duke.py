"""P-DukeMTMC-reID."""

from pathlib import Path
from typing import ClassVar

from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data.datasets.base import PublishedDataset
from mdpr_fastreid.data.datasets.counts import Count
from mdpr_fastreid.data.datasets.occluded_reid import occluded_and_whole


@DATASET_REGISTRY.register()
class PDukeMTMC(PublishedDataset):
    """P-DukeMTMC-reID: identities of DukeMTMC-reID that have both occluded and whole-body images.

    Zhuo et al., "Occluded Person Re-identification", ICME 2018;
    https://github.com/tinajia2012/ICME2018_Occluded-Person-Reidentification_datasets

    ::

        P-DukeMTMC-reID/{train,test}/{occluded_body_images,whole_body_images}/<identity>/*.jpg

    * train: 12,927 images of 665 identities, occluded and whole
    * query: 2,163 occluded images of 634 identities
    * gallery: 9,053 whole-body images of 634 identities
    * 8 cameras

    Assumed, as the paper does not say it: files keep ``c<camera>`` of DukeMTMC-reID's names (``0001_c2_f0046182.jpg``).
    """

    dataset_name = "pduke"
    folders = ("P-DukeMTMC-reID", "P-DukeMTMC-reid", "P-DukeMTMC")
    published: ClassVar = {"train": Count(665, 12_927), "query": Count(634, 2_163), "gallery": Count(634, 9_053)}

    def splits(self, folder: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """All of ``train``; of ``test`` the occluded images as queries and the whole-body ones as gallery."""
        occluded, whole = occluded_and_whole(self, folder / "train", r"(?:^|_)c(\d)")
        query, gallery = occluded_and_whole(self, folder / "test", r"(?:^|_)c(\d)")
        return occluded + whole, query, gallery
