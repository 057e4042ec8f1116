"""Parsing figures against sums over cells."""

import torch
from drop.evaluation import parsing_counts, parsing_metrics


def random_cells(images=5, classes=4, size=(6, 3)):
    rng = torch.Generator().manual_seed(0)
    probabilities = torch.rand(images, classes, *size, generator=rng).softmax(dim=1)
    true = torch.randint(classes, (images, *size), generator=rng)
    true[0] = 255  # without a mask
    true[1, :2] = 255
    return probabilities, true.to(torch.uint8)


def test_counts_are_those_of_a_loop_over_cells():
    probabilities, true = random_cells()
    counts = torch.zeros(5, 3, 4)
    for image in range(5):
        for row in range(6):
            for column in range(3):
                expected = int(true[image, row, column])
                if expected == 255:
                    continue
                predicted = int(probabilities[image, :, row, column].argmax())
                counts[image, 1, predicted] += 1
                counts[image, 2, expected] += 1
                counts[image, 0, expected] += predicted == expected
    assert torch.equal(parsing_counts(probabilities, true), counts)


def test_metrics_are_their_formulas():
    counts = parsing_counts(*random_cells())
    metrics = parsing_metrics(counts)
    right, predicted, true = counts.sum(dim=0).tolist()
    overlaps = [r / (p + t - r) for r, p, t in zip(right, predicted, true, strict=True)]
    assert abs(metrics["mIoU"] - 100 * sum(overlaps) / 4) < 1e-9
    assert abs(metrics["pixel accuracy"] - 100 * sum(right) / sum(true)) < 1e-9
    hits = false = missed = 0
    for image in counts[1:]:
        for k in (1, 2, 3):
            seen, said = image[2, k] > 0, image[1, k] > 0
            hits, false, missed = hits + (seen & said), false + (said & ~seen), missed + (seen & ~said)
    assert abs(metrics["visibility F1"] - 100 * float(2 * hits / (2 * hits + false + missed))) < 1e-9


def test_a_perfect_prediction_has_a_hundred_and_no_masks_have_nothing():
    _, true = random_cells()
    perfect = torch.nn.functional.one_hot(true.long().clamp_max(3), 4).movedim(3, 1).float()
    assert parsing_metrics(parsing_counts(perfect, true)) == {"mIoU": 100, "pixel accuracy": 100, "visibility F1": 100}
    assert parsing_metrics(parsing_counts(perfect, torch.full_like(true, 255))) == {}


def test_a_class_that_is_nowhere_does_not_count():
    true = torch.zeros(1, 4, 4, dtype=torch.uint8)
    predicted = torch.zeros(1, 3, 4, 4)
    predicted[:, 0] = 1
    assert parsing_metrics(parsing_counts(predicted, true))["mIoU"] == 100
