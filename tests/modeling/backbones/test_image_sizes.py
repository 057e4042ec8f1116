"""The sizes that a model is built for are those that the transforms give."""

import itertools

import pytest
import torch
from PIL import Image
from small_runs import small_config

from mdpr_fastreid.data.transforms import build_transforms
from mdpr_fastreid.modeling.backbones.image_sizes import image_sizes

SIZES = ([64, 32], [48], [0], [0, 0])
CROPS = (None, [40, 24], [28])


@pytest.mark.parametrize(("size", "crop", "padded"), list(itertools.product(SIZES, CROPS, (False, True))))
def test_they_are_those_of_the_transforms(size, crop, padded):
    cfg = small_config("")
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = size
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.SIZE = crop is not None, crop or [224, 224]
    cfg.INPUT.PADDING.ENABLED, cfg.INPUT.PADDING.SIZE = padded, 40
    for is_train, found in zip((True, False), image_sizes(cfg), strict=True):
        if is_train and padded and size[0] == 0:
            assert found.is_open  # an empty image would be cut out
            continue
        shapes = set()
        for picture in ((50, 120), (70, 90)):
            torch.manual_seed(0)
            sample = build_transforms(cfg, is_train)({"images": Image.new("RGB", picture)})
            shapes.add(tuple(sample["images"].shape[1:]))
        assert shapes == {found.size} if not found.is_open else len(shapes) == 2
