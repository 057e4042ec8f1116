"""Label maps through v2: what a flip does to left and right, what stands for an image without a mask."""

import copy

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from mdpr_fastreid.data.label_maps import LabelMap, UnlabelledMap, label_map_class
from mdpr_fastreid.data.masks import PART_GROUPS, UNLABELLED


def labels_of(number, classes):
    drawn = np.random.default_rng(number).integers(0, classes, (1, 12, 9))
    drawn[0, :2, :2] = UNLABELLED
    return torch.from_numpy(drawn.astype(np.uint8))


@pytest.mark.parametrize("groups", PART_GROUPS._obj_map.values(), ids=PART_GROUPS._obj_map)
def test_a_flip_swaps_what_is_mirrored_and_two_flips_give_the_map_back(groups):
    labels = labels_of(0, len(groups.parts) + 1)
    given = label_map_class(groups.mirror)(labels)
    flipped = F.horizontal_flip(given)
    swapped = {left: right for pair in groups.mirror for left, right in (pair, pair[::-1])}
    expected = [[swapped.get(label, label) for label in row[::-1]] for row in labels[0].tolist()]
    assert flipped[0].tolist() == expected and flipped.dtype == torch.uint8
    assert isinstance(flipped, LabelMap) and torch.equal(given, labels), "the map itself stays"
    assert torch.equal(F.horizontal_flip(flipped), labels)
    assert (expected != labels[0].flip(-1).tolist()) == bool(groups.mirror)


def test_a_map_is_mirrored_after_any_other_transform():
    kind = label_map_class(((1, 2),))
    assert kind is label_map_class(((1, 2),)) and label_map_class(()) is LabelMap
    given = kind(torch.ones(1, 6, 4, dtype=torch.uint8))
    steps = [v2.Resize((12, 8)), v2.Pad(2), v2.CenterCrop((8, 6)), v2.RandomResizedCrop((8, 6))]
    for step in [*steps, v2.RandomAffine(5), copy.deepcopy]:
        assert type(step(given)) is kind
        assert 2 in F.horizontal_flip(step(given)) and 1 not in F.horizontal_flip(step(given))


@pytest.mark.parametrize("size", [(24, 18), (6, 5), (12, 9)])
def test_unlabelled_pixels_stay_so_when_a_map_is_resized(size):
    labels = torch.zeros(1, 12, 9, dtype=torch.uint8)
    labels[:, 6:] = UNLABELLED
    resized = F.resize(LabelMap(labels), list(size))
    rows = [(2 * row + 1) * 12 // (2 * size[0]) >= 6 for row in range(size[0])]
    assert (resized[0] == UNLABELLED).all(1).tolist() == rows and set(resized.unique().tolist()) == {0, UNLABELLED}


def test_padding_is_background():
    padded = F.pad(label_map_class(((1, 2),))(torch.full((1, 3, 2), 4, dtype=torch.uint8)), [1])
    assert padded.tolist() == [[[0] * 4, *[[0, 4, 4, 0]] * 3, [0] * 4]]


def test_an_unlabelled_map_stays_one():
    given = UnlabelledMap(torch.full((1, 8, 4), UNLABELLED, dtype=torch.uint8))
    for step in (v2.Resize((16, 8)), v2.Pad(2), v2.RandomHorizontalFlip(1.0), v2.RandomAffine(20)):
        assert type(step(given)) is UnlabelledMap
