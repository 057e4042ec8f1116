"""Masks and clips take the same draws as their image, whose pixels and draws are FastReID's."""

import random

import numpy as np
import pytest
import torch
from fastreid.data.transforms.transforms import RandomPatch
from PIL import Image
from small_runs import small_config
from torchvision.transforms.v2 import functional as F

from mdpr_fastreid.data.erased import erased_in
from mdpr_fastreid.data.label_maps import LabelMap, label_map_class
from mdpr_fastreid.data.masks import PART_GROUPS
from mdpr_fastreid.data.transforms import Patching, build_transforms
from mdpr_fastreid.errors import UsageError

HEIGHT, WIDTH, BLOCK = 48, 24, 6
COLOURS = np.array([(0, 0, 0), (200, 30, 90), (60, 180, 20), (90, 60, 240), (250, 250, 120)], np.uint8)
"""Of the labels from 0 on. Padding is of the colour of label 0."""
PARTS = {
    "nothing": [],
    "crop": ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [HEIGHT, WIDTH]],
    "padding": ["INPUT.PADDING.ENABLED", True],
    "flip": ["INPUT.FLIP.ENABLED", True],
    "color jitter": ["INPUT.CJ.ENABLED", True, "INPUT.CJ.PROB", 1.0],
    "affine": ["INPUT.AFFINE.ENABLED", True],
    "erasing": ["INPUT.REA.ENABLED", True, "INPUT.REA.PROB", 0.8, "INPUT.REA.VALUE", [7.0, 0.5, 255.0]],
    "patches": ["INPUT.RPT.ENABLED", True, "INPUT.RPT.PROB", 0.8],
}
TO_THE_PIXEL = ["padding", "flip", "color jitter", "affine", "erasing", "patches"]
EVERYTHING = [word for part in TO_THE_PIXEL for word in PARTS[part]]


def config(*options):
    cfg = small_config("", "INPUT.SIZE_TRAIN", [HEIGHT, WIDTH], "INPUT.FLIP.ENABLED", False)
    cfg.merge_from_list(list(options))
    return cfg


def seed(number):
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def blocks(number, scale=1):
    """Labels in blocks, and the picture in which each has its colour."""
    few = np.random.default_rng(number).integers(0, len(COLOURS), (HEIGHT // BLOCK, WIDTH // BLOCK))
    labels = np.kron(few, np.ones((BLOCK * scale,) * 2, int)).astype(np.uint8)
    return labels, Image.fromarray(COLOURS[labels])


def transformed(transforms, number, kind=LabelMap, **others):
    labels, picture = blocks(number)
    sample = {"images": picture, "masks": kind(labels[None]), **others}
    seed(number)
    return transforms({key: sample[key] for key in [field.key for field in transforms.fields]})


def with_patches(transforms):
    """Random patch pastes patches of a colour of their own alone."""
    for step in transforms.transforms:
        if isinstance(step, Patching):
            colour = torch.tensor([1, 2, 3, 0][: 3 + (transforms.fill is not None)], dtype=torch.uint8)
            step.patchpool.extend([colour.view(-1, 1, 1).expand(-1, 9, 7)] * 200)
            step.generate_wh = lambda width, height: (None, None)  # cuts none out
    return transforms


@pytest.mark.parametrize("part", [*TO_THE_PIXEL, "all"])
def test_a_mask_and_its_image_stay_aligned_to_the_pixel(part):
    options = EVERYTHING if part == "all" else PARTS[part]
    transforms = with_patches(build_transforms(config(*options, "INPUT.FIELDS", ("mask",)), is_train=True))
    covered = 0
    for number in range(40):
        sample = transformed(transforms, number)
        image, mask = sample["images"], sample["masks"]
        assert mask.dtype == torch.uint8 and mask.shape == image.shape[1:] == (HEIGHT, WIDTH)
        erased = erased_in(sample, "images") if transforms.fill is not None else torch.zeros_like(mask, dtype=bool)
        pasted = (image == torch.tensor([1, 2, 3]).view(3, 1, 1)).all(0)
        assert (mask[erased | pasted] == 0).all()
        covered += int((erased | pasted).sum())
        seen = {}
        for label, colour in zip(
            mask[~(erased | pasted)].tolist(), image[:, ~(erased | pasted)].T.tolist(), strict=True
        ):
            seen.setdefault(label, set()).add(tuple(colour))
        assert len(seen) > 2
        own = [colour for label, colours in seen.items() if label for colour in colours]
        assert len(own) == len(set(own)) == len(seen.keys() - {0}), "one colour for each label"
        assert not set(own) & seen.get(0, set()), "and none of the background's"
    assert (covered > 1000) == (part in ("erasing", "patches", "all"))


@pytest.mark.parametrize("part", ["nothing", "crop"])
@pytest.mark.parametrize("size", [(96, 48), (24, 12), (61, 35)])
def test_a_resized_mask_has_the_labels_at_the_centres_of_the_new_pixels(part, size):
    few, picture = blocks(3)
    labels = np.asarray(Image.fromarray(few).resize(size[::-1], Image.Resampling.NEAREST))
    transforms = build_transforms(config(*PARTS[part], "INPUT.FIELDS", ("mask",)), is_train=True)
    for number in range(20):
        seed(number)
        sample = transforms({"images": picture.resize(size[::-1]), "masks": LabelMap(labels[None].copy())})
        expected = at_centres(labels, (HEIGHT, WIDTH))
        if part == "crop":
            seed(number)
            drawn = transforms.transforms[2].transform.make_params([Image.fromarray(expected)])
            rows = slice(drawn["top"], drawn["top"] + drawn["height"])
            columns = slice(drawn["left"], drawn["left"] + drawn["width"])
            expected = at_centres(expected[rows, columns], (HEIGHT, WIDTH))
        assert np.array_equal(sample["masks"].numpy(), expected)


def at_centres(labels, size):
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, labels.shape, strict=True))
    return labels[rows][:, columns]


@pytest.mark.parametrize("part", [*PARTS, "all"])
def test_frames_that_are_their_image_stay_it(part):
    options = [*EVERYTHING, *PARTS["crop"]] if part == "all" else PARTS[part]
    transforms = build_transforms(config(*options, "INPUT.FIELDS", ("clip", "mask"), "INPUT.CLIP.FRAMES", 3), True)
    for step in transforms.transforms:
        if isinstance(step, RandomPatch):
            step.min_sample_size = 2
    changed = 0
    for number in range(30):
        _, picture = blocks(number)
        sample = transformed(transforms, number, clips=[picture.copy() for _ in range(3)])
        assert sample["clips"].shape == (3, *sample["images"].shape)
        assert all(torch.equal(frame, sample["images"]) for frame in sample["clips"])
        if transforms.fill is not None:
            assert all(torch.equal(bits, sample["images erased"]) for bits in sample["clips erased"])
        erased = transforms.fill is not None and erased_in(sample, "images").any()
        changed += bool(erased) or not np.array_equal(sample["images"].permute(1, 2, 0), picture)
    assert (changed > 5) == (part != "nothing")


@pytest.mark.parametrize("part", [*PARTS, "all"])
def test_an_image_with_fields_is_what_it_is_alone(part):
    options = [*EVERYTHING, *PARTS["crop"]] if part == "all" else PARTS[part]
    alone = build_transforms(config(*options), is_train=True)
    joint = build_transforms(config(*options, "INPUT.FIELDS", ("mask",)), is_train=True)
    kinds = [label_map_class(groups.mirror) for groups in PART_GROUPS._obj_map.values()]
    for number in range(120):  # enough for a full pool of patches
        sample = transformed(joint, number, kinds[number % len(kinds)])
        assert torch.equal(transformed(alone, number)["images"], sample["images"])


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("groups", PART_GROUPS._obj_map.values(), ids=PART_GROUPS._obj_map)
def test_left_and_right_change_places_where_the_image_is_flipped(groups, flip):
    options = [*EVERYTHING, *PARTS["crop"], "INPUT.FIELDS", ("mask",), "INPUT.FLIP.PROB", flip]
    swapped = np.arange(256)
    for left, right in groups.mirror if flip else ():
        swapped[[left, right]] = right, left
    plain, mirrored = build_transforms(config(*options), True), build_transforms(config(*options), True)
    for number in range(30):
        expected = swapped[transformed(plain, number)["masks"].numpy()]
        assert np.array_equal(transformed(mirrored, number, label_map_class(groups.mirror))["masks"], expected)


def test_evaluation_resizes_masks_alone():
    labels, picture = blocks(1)
    cfg = config("INPUT.FIELDS", ("mask",), "INPUT.SIZE_TEST", [96, 48], *EVERYTHING)
    sample = build_transforms(cfg, is_train=False)({"images": picture, "masks": LabelMap(labels[None])})
    assert np.array_equal(sample["masks"], np.kron(labels, np.ones((2, 2))))


@pytest.mark.parametrize("kind", ["AUTOAUG", "AUGMIX"])
@pytest.mark.parametrize("field", ["mask", "clip"])
def test_what_no_mask_or_frame_can_follow_is_refused(kind, field):
    options = [f"INPUT.{kind}.ENABLED", True, "INPUT.FIELDS", (field,)]
    with pytest.raises(UsageError, match=rf"INPUT.{kind}.ENABLED changes an image in ways that {field}s cannot"):
        build_transforms(config(*options), is_train=True)
    build_transforms(config(*options), is_train=False)
    build_transforms(config(*options[:2]), is_train=True)


def test_other_sizes_without_resizing_are_refused():
    labels, picture = blocks(1)
    transforms = build_transforms(config("INPUT.FIELDS", ("mask",), "INPUT.SIZE_TRAIN", [0]), is_train=True)
    with pytest.raises(UsageError, match=r"masks of \[24, 24\] pixels beside an image of \[48, 24\]"):
        transforms({"images": picture, "masks": LabelMap(labels[None, :24])})


@pytest.mark.parametrize("value", [[], [1.0, 2.0]])
def test_only_one_or_three_numbers_stand_for_what_is_erased(value):
    with pytest.raises(UsageError, match="INPUT.REA.VALUE"):
        build_transforms(config(*PARTS["erasing"], "INPUT.REA.VALUE", value), is_train=True)


def test_random_patches_are_stocks_and_the_pool_keeps_no_images():
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, 48, 24), generator=generator).float() for _ in range(40)]
    stock = RandomPatch(min_sample_size=5)
    ours = build_transforms(config(*PARTS["patches"]), is_train=True).transforms[-1]
    ours.min_sample_size, ours.prob_happen = 5, stock.prob_happen
    seed(3)
    expected = [stock(image.clone()) for image in images]
    seed(3)
    actual = [{"images": image.clone()} for image in images]
    for sample in actual:
        ours(sample)
    assert all(torch.equal(image, sample["images"]) for image, sample in zip(expected, actual, strict=True))
    assert all(torch.equal(*pair) for pair in zip(stock.patchpool, ours.patchpool, strict=True))
    assert all(patch.untyped_storage().nbytes() == patch.numel() * 4 for patch in ours.patchpool)
    assert any(patch.untyped_storage().nbytes() > patch.numel() * 4 for patch in stock.patchpool)


def test_v2_still_moves_masks_otherwise_than_pillow_does_images():
    """What ``label_maps`` is for; where this fails, its kernels can go."""
    from torchvision.tv_tensors import Mask

    labels = np.random.default_rng(0).integers(0, 255, (1, 384, 192)).astype(np.uint8)
    by_v2 = F.affine(Mask(labels), 7.0, [0, 0], 1.05, [0.1, 0.0])
    by_pillow = F.affine(LabelMap(labels), 7.0, [0, 0], 1.05, [0.1, 0.0])
    assert isinstance(by_pillow, LabelMap)
    assert 0 < (by_v2 != by_pillow).float().mean() < 0.01
