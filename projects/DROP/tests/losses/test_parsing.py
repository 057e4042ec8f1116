"""The parsing loss against its formula and BPBreID's value; targets and visibilities against loops."""

import math

import pytest
import torch
from bpbreid_values import GOLDEN, u
from drop.losses import UNKNOWN, ParsingLoss, part_targets, target_visibility
from torch.autograd import gradcheck


def slow(logits, targets, epsilon):
    losses, classes = [], logits.shape[1]
    for b in range(len(logits)):
        for y in range(logits.shape[2]):
            for x in range(logits.shape[3]):
                if targets[b, y, x] == UNKNOWN:
                    continue
                total = sum(math.exp(z) for z in logits[b, :, y, x])
                for c in range(classes):
                    target = (1 - epsilon) * (targets[b, y, x].item() == c) + epsilon / classes
                    losses.append(-target * math.log(math.exp(logits[b, c, y, x]) / total))
    return sum(losses) / (len(losses) / classes) if losses else 0.0


def commonest(mask, top, bottom, left, right, classes):
    """Ties go to the lowest class, and to any class rather than to UNKNOWN."""
    window = mask[top:bottom, left:right].flatten().tolist()
    return max((*range(classes), UNKNOWN), key=lambda label: (window.count(label), -label))


def test_the_loss_is_bpbreids():
    targets = (5 * torch.arange(12) % 4).view(2, 3, 2)
    loss = ParsingLoss()(6 * u(41, 2, 4, 3, 2), targets)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(GOLDEN["parsing"]["parsing_loss"], abs=1e-9)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("unknown", [0.0, 0.4, 0.97])
def test_the_loss_is_the_formula(epsilon, unknown):
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 4, 2, generator=rng, dtype=torch.float64)
    targets = torch.randint(5, (3, 4, 2), generator=rng, dtype=torch.uint8)
    targets[torch.rand(3, 4, 2, generator=rng) < unknown] = UNKNOWN
    loss = ParsingLoss(epsilon=epsilon, scale=0.5)(logits, targets)
    assert loss.item() == pytest.approx(slow(logits, targets, epsilon) / 2, abs=1e-12)
    assert gradcheck(lambda z: ParsingLoss(epsilon=epsilon)(z, targets), (logits.requires_grad_(),))


def test_a_batch_without_masks_costs_nothing_and_has_a_gradient():
    logits = torch.randn(2, 5, 4, 2, requires_grad=True)
    loss = ParsingLoss()(logits, torch.full((2, 4, 2), UNKNOWN, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_half_precision_is_summed_in_float32():
    logits = torch.full((64, 9, 64, 32), 8.0, dtype=torch.float16)
    loss = ParsingLoss()(logits, torch.zeros(64, 64, 32, dtype=torch.uint8))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(9), rel=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(16, 8, (4, 2)), (16, 8, (16, 8)), (16, 8, (1, 1)), (40, 20, (2, 1)), (300, 2, (1, 2)), (12, 8, (2, 8))],
)
@pytest.mark.parametrize("classes", [2, 6, 9])
def test_a_target_is_the_commonest_class_of_its_block(height, width, size, classes):
    rng = torch.Generator().manual_seed(height * classes)
    masks = torch.randint(classes, (3, height, width), generator=rng, dtype=torch.uint8)
    masks[torch.rand(masks.shape, generator=rng) < 0.2] = UNKNOWN
    masks[2] = UNKNOWN
    targets = part_targets(masks, size, classes)
    rows, columns = height // size[0], width // size[1]
    assert targets.dtype == torch.uint8
    for b in range(3):
        for y in range(size[0]):
            for x in range(size[1]):
                block = (y * rows, (y + 1) * rows, x * columns, (x + 1) * columns)
                assert targets[b, y, x] == commonest(masks[b], *block, classes)


@pytest.mark.parametrize(("height", "width", "size"), [(25, 13, (7, 4)), (16, 10, (4, 3)), (5, 5, (8, 8))])
def test_a_target_of_an_odd_size_is_the_commonest_class_of_its_window(height, width, size):
    masks = torch.randint(4, (2, height, width), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    targets = part_targets(masks, size, 4)
    for b in range(2):
        for y in range(size[0]):
            for x in range(size[1]):
                rows = (y * height // size[0], -(-(y + 1) * height // size[0]))
                columns = (x * width // size[1], -(-(x + 1) * width // size[1]))
                assert targets[b, y, x] == commonest(masks[b], *rows, *columns, 4)


@pytest.mark.parametrize(
    ("block", "target"),
    [([2, 2, 1, 1], 1), ([3, 0, 0, 3], 0), ([UNKNOWN, UNKNOWN, 3, 3], 3), ([UNKNOWN, UNKNOWN, 3, 2], UNKNOWN)],
)
def test_ties_go_to_the_lowest_class_and_never_to_unknown(block, target):
    masks = torch.tensor(block, dtype=torch.uint8).view(1, 2, 2)
    assert part_targets(masks, (1, 1), 4).item() == target


@pytest.mark.parametrize("min_cells", [1, 2, 5])
def test_a_part_is_visible_that_has_cells_enough(min_cells):
    rng = torch.Generator().manual_seed(0)
    targets = torch.randint(5, (6, 4, 3), generator=rng, dtype=torch.uint8)
    targets[5] = UNKNOWN
    visible = target_visibility(targets, 4, min_cells)
    assert visible.dtype == torch.bool
    expected = [[image.tolist().count(part) >= min_cells for part in range(1, 5)] for image in targets.flatten(1)]
    assert visible.tolist() == expected
    assert not visible[5].any()
