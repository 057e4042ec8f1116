"""What size images have when a model gets them, as far as the config says it."""

from collections.abc import Sequence
from typing import NamedTuple

from fastreid.config import CfgNode

_WHERE_OPEN = (256, 128)


class ImageSize(NamedTuple):
    """Of images in training, or of those in the test."""

    key: str
    """The config's key that says it."""
    value: tuple[int, ...]
    """Of this key."""
    size: tuple[int, int]
    """Height and width; 256 x 128 where they are open."""
    is_open: bool
    """Whether the config leaves them open: one number for the shorter side, or 0 for images as they are."""


class ImageSizes(NamedTuple):
    """Of both kinds of images."""

    train: ImageSize
    test: ImageSize


def image_sizes(cfg: CfgNode) -> ImageSizes:
    """Sizes of training's images and of the test's, as :mod:`mdpr_fastreid.data.transforms` makes them."""
    inputs = cfg.INPUT
    crop = _image_size("INPUT.CROP.SIZE", inputs.CROP.SIZE, is_cut=True)
    # What was padded is cut out behind the crop
    train = _image_size("INPUT.SIZE_TRAIN", inputs.SIZE_TRAIN, is_cut=inputs.PADDING.ENABLED)
    test = _image_size("INPUT.SIZE_TEST", inputs.SIZE_TEST, is_cut=False)
    if not inputs.CROP.ENABLED:
        return ImageSizes(train, test)
    return ImageSizes(train if inputs.PADDING.ENABLED else crop, crop)


def _image_size(key: str, value: Sequence[int], is_cut: bool) -> ImageSize:
    """One number is a square where it is cut out, and the shorter side where images are resized."""
    size = tuple(value) * (2 if is_cut and len(value) == 1 else 1)
    is_open = len(size) != 2 or not all(size)
    return ImageSize(key, tuple(value), _WHERE_OPEN if is_open else size, is_open)
