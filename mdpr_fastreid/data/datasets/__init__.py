"""Data sets that the plugin adds to FastReID's DATASET_REGISTRY, one a file; importing registers them."""

from mdpr_fastreid.data.datasets import (
    cuhk03,
    duke_video,
    mars,
    msmt17,
    occluded_duke,
    occluded_reid,
    p_duke,
    synergyreid,
    synthreid,
    synthreid_video,
    veri_video,
)

__all__ = [
    "cuhk03",
    "duke_video",
    "mars",
    "msmt17",
    "occluded_duke",
    "occluded_reid",
    "p_duke",
    "synergyreid",
    "synthreid",
    "synthreid_video",
    "veri_video",
]
