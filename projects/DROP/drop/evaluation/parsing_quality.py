"""How well the parts of test images were found, where these have masks."""

import torch

from drop.losses import UNKNOWN

MEAN_IOU, PIXEL_ACCURACY, VISIBILITY_F1 = "mIoU", "pixel accuracy", "visibility F1"


def parsing_counts(probabilities: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Cells of each class: found rightly, predicted, true; those of which nothing is known are left out.

    Args:
        probabilities: ``[B, K + 1, h, w]``, class 0 the background.
        classes: ``[B, h, w]``, the true ones; 255 where nothing is known.

    Returns:
        ``[B, 3, K + 1]`` float32.
    """
    number = probabilities.shape[1]
    known = classes != UNKNOWN
    predicted = probabilities.argmax(dim=1).masked_fill(~known, number)
    true = classes.long().masked_fill(~known, number)
    right = predicted.masked_fill(predicted != true, number)
    of_class = [
        torch.stack([(cells == k).sum(dim=(1, 2)) for k in range(number)], 1) for cells in (right, predicted, true)
    ]
    return torch.stack(of_class, dim=1).float()


def parsing_metrics(counts: torch.Tensor) -> dict[str, float]:
    """The figures of a test set, in percent.

    ``mIoU`` is the mean over the classes, background included, of intersection over union of all images together, as
    in semantic segmentation; ``pixel accuracy`` the share of cells classified rightly; ``visibility F1`` that of the
    decision whether a part shows in an image, in a cell or more of it, over all parts of all images that have a mask.

    Args:
        counts: of :func:`parsing_counts`, ``[N, 3, K + 1]``.

    Returns:
        Nothing where no image has a mask.
    """
    counts = counts.double()
    counts = counts[counts[:, 2].sum(dim=1) > 0]
    if not len(counts):
        return {}
    right, predicted, true = counts.sum(dim=0)
    union = predicted + true - right
    there = union > 0
    seen, said = counts[:, 2, 1:] > 0, counts[:, 1, 1:] > 0
    both = (seen & said).sum()
    return {
        MEAN_IOU: float((right[there] / union[there]).mean() * 100),
        PIXEL_ACCURACY: float(right.sum() / true.sum() * 100),
        VISIBILITY_F1: float(200 * both / (seen.sum() + said.sum())) if seen.any() or said.any() else 100.0,
    }
