"""Occluded-Duke."""

from typing import ClassVar

from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data.datasets.base import MarketLayout
from mdpr_fastreid.data.datasets.counts import Count


@DATASET_REGISTRY.register()
class OccludedDuke(MarketLayout):
    """Occluded-Duke: DukeMTMC-reID split anew so that every query is occluded.

    Miao et al., "Pose-Guided Feature Alignment for Occluded Person Re-Identification", ICCV 2019;
    https://github.com/lightas/Occluded-DukeMTMC-Dataset

    ::

        Occluded_Duke/{bounding_box_train,query,bounding_box_test}/0001_c2_f0046182.jpg

    * train: 15,618 images of 702 identities
    * query: 2,210 images of 519 identities, all occluded
    * gallery: 17,661 images of 1,110 identities
    * 8 cameras
    """

    dataset_name = "occludedduke"
    folders = ("Occluded_Duke", "Occluded-DukeMTMC-reID", "Occluded-Duke", "OccludedDuke")
    published: ClassVar = {"train": Count(702, 15_618), "query": Count(519, 2_210), "gallery": Count(1_110, 17_661)}
