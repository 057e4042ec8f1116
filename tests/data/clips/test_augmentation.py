"""Frames that draw alone are, bit for bit, images that FastReID's own transforms have augmented."""

import random

import numpy as np
import pytest
import torch
from fastreid.data.transforms.transforms import RandomPatch
from PIL import Image
from small_runs import small_config
from support.tracklets import tracklets
from torchvision.tv_tensors import BoundingBoxes

from mdpr_fastreid.bench.stock_loader import stock_transforms
from mdpr_fastreid.data import FIELD_REGISTRY, Field, Item, training_set
from mdpr_fastreid.data.pipeline import FieldDataset
from mdpr_fastreid.data.transforms import build_transforms

PARTS = {
    "crop": ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [48, 24]],
    "padding": ["INPUT.PADDING.ENABLED", True],
    "flip": ["INPUT.FLIP.ENABLED", True],
    "color jitter": ["INPUT.CJ.ENABLED", True],
    "affine": ["INPUT.AFFINE.ENABLED", True],
    "erasing": ["INPUT.REA.ENABLED", True, "INPUT.REA.PROB", 0.8, "INPUT.REA.VALUE", [7.0, 0.5, 255.0]],
    "patches": ["INPUT.RPT.ENABLED", True],
    "auto augmentation": ["INPUT.AUTOAUG.ENABLED", True, "INPUT.AUTOAUG.PROB", 0.5],
    "augmix": ["INPUT.AUGMIX.ENABLED", True],
}
ALL = [word for part in PARTS.values() for word in part]


def config(*options):
    size = ["INPUT.SIZE_TRAIN", [48, 24], "INPUT.FLIP.ENABLED", False]
    return small_config("", *size, "INPUT.FIELDS", ("clip",), "INPUT.CLIP.CONSISTENT", False, *options)


def seed(number):
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def pictures(number, count):
    draws = np.random.default_rng(number)
    return [Image.fromarray(draws.integers(0, 256, (40 + draws.integers(20), 30, 3), np.uint8)) for _ in range(count)]


def both(cfg):
    """Stock's transforms and ours, with random patch pasting from the third image on; ours give floats."""
    stock, ours = stock_transforms(cfg), build_transforms(cfg, is_train=True)
    for step in (*stock.transforms, *ours.transforms):
        if isinstance(step, RandomPatch):
            step.min_sample_size = 3
    dataset = FieldDataset([], ours)
    return stock, lambda sample: dataset.to_floats(ours(sample))


@pytest.mark.parametrize("part", [*PARTS, "all"])
@pytest.mark.parametrize("with_image", [True, False])
def test_each_frame_is_an_image_of_stocks(part, with_image):
    stock, ours = both(config(*(ALL if part == "all" else PARTS[part]), "INPUT.CLIP.WITH_IMAGE", with_image))
    seed(1)
    expected = [torch.stack([stock(picture) for picture in pictures(number, 4)]) for number in range(12)]
    seed(1)
    for number, images in enumerate(expected):
        image, *frames = pictures(number, 4)
        if with_image:
            sample = ours({"images": image, "clips": frames})
            assert sample.keys() == {"images", "clips"}
            assert torch.equal(images[0], sample["images"]) and torch.equal(images[1:], sample["clips"])
        else:
            assert torch.equal(images, ours({"clips": [image, *frames]})["clips"])


@pytest.mark.parametrize("consistent", [True, False])
def test_in_a_batch_a_clip_of_the_image_alone_tells_both_ways_apart(tmp_path, consistent):
    cfg = config(*PARTS["padding"], *PARTS["erasing"], "INPUT.CLIP.CONSISTENT", consistent, "INPUT.CLIP.FRAMES", 3)
    rng = np.random.default_rng(0)
    path = str(tmp_path / "one.png")
    Image.fromarray(rng.integers(0, 256, (48, 24, 3), np.uint8)).save(path)
    dataset, alike = training_set(cfg, [Item(path, 0, 0, {"clip": (path,)})]), 0
    for number in range(20):
        seed(number)
        sample = dataset[0]
        alike += all(torch.equal(frame, sample["images"]) for frame in sample["clips"])
    assert alike == (20 if consistent else 0)


def test_fields_beside_frames_that_draw_alone_follow_the_image(tmp_path):
    cfg = config(*PARTS["flip"], *PARTS["padding"], *PARTS["erasing"])
    (item,) = tracklets(tmp_path, [3])
    Image.fromarray(np.arange(512, dtype=np.uint8).reshape(32, 16) % 7).save(tmp_path / "mask.png")
    item = Item(*item, {**item.fields, "mask": str(tmp_path / "mask.png")})
    samples = []
    for fields in (("mask", "clip"), ("clip", "mask")):
        cfg.INPUT.FIELDS = fields
        seed(4)
        samples.append(training_set(cfg, [item])[0])
    image, mask = samples[0]["images"], samples[0]["masks"]
    erased = (image == torch.tensor([7.0, 0.5, 255.0]).view(3, 1, 1)).all(0)
    assert erased.any() and not mask[erased].any() and len(mask.unique()) == 7
    assert samples[0]["clips"].shape == (8, 3, 48, 24)
    assert all(torch.equal(samples[0][key], samples[1][key]) for key in ("images", "masks", "clips"))


def test_fields_beside_clips_without_images_are_left_as_they_were_read(tmp_path):
    @FIELD_REGISTRY.register()
    class Place(Field):
        name, key = "place", "places"

        def read_for(self, item, image):
            assert image is None
            return BoundingBoxes([[1, 2, 3, 4]], format="XYXY", canvas_size=(48, 24))

    try:
        cfg = config(*PARTS["flip"], *PARTS["padding"], *PARTS["erasing"], *PARTS["patches"], "INPUT.FLIP.PROB", 1.0)
        cfg.INPUT.FIELDS, cfg.INPUT.CLIP.WITH_IMAGE = ("place", "clip"), False
        sample = training_set(cfg, tracklets(tmp_path, [3]))[0]
        assert sample["places"].tolist() == [[1, 2, 3, 4]] and sample["clips"].shape == (8, 3, 48, 24)
    finally:
        del FIELD_REGISTRY._obj_map["place"]


@pytest.mark.parametrize("part", [part for part in PARTS if part not in ("auto augmentation", "augmix")])
def test_without_an_image_the_first_frame_leads_the_clip(part):
    options = [*PARTS[part], "INPUT.CLIP.CONSISTENT", True]
    alone, joint = both(config(*options))[1], both(config(*options, "INPUT.CLIP.WITH_IMAGE", False))[1]
    for number in range(12):
        image, other, *_ = (picture.resize((24, 48)) for picture in pictures(number, 2))
        seed(number)
        expected = alone({"images": image, "clips": [image, other]})
        seed(number)
        sample = joint({"clips": [image, other]})
        assert torch.equal(sample["clips"][0], expected["images"]) and torch.equal(sample["clips"], expected["clips"])
