"""The negative control: training images with each other's masks, which say nothing of them."""

import numpy as np
from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data import Item
from mdpr_fastreid.data.datasets.synthreid import SynthReIDOccludedSmall
from mdpr_fastreid.data.items import fields_of


@DATASET_REGISTRY.register()
class SynthReIDShuffledMasks(SynthReIDOccludedSmall):
    """SynthReIDOccludedSmall with the masks of its training images in another order, drawn once."""

    def __init__(self, root: str = "datasets", **kwargs):
        super().__init__(root, **kwargs)
        items = self.train
        order = np.random.default_rng(0).permutation(len(items))
        self._train = [Item(*item, fields_of(items[other])) for item, other in zip(items, order, strict=True)]
