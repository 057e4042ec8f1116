"""Which parts of a person the pixel classifier sees."""

import torch

from drop.losses.parsing import target_visibility


def part_visibility(probabilities: torch.Tensor, binary: bool = True, min_cells: int = 1) -> torch.Tensor:
    """The visibility of each part in an image (arXiv 2211.03679).

    Args:
        probabilities: ``[B, K + 1, h, w]``, the background first.
        binary: a part is visible where it is the likeliest class of ``min_cells`` cells; else its visibility is its
            highest probability in any cell.
        min_cells: see ``binary``.

    Returns:
        ``[B, K]``, 0 to 1, in the type of the probabilities and without gradient.
    """
    probabilities = probabilities.detach()
    if not binary:
        return probabilities.split([1, probabilities.shape[1] - 1], dim=1)[1].amax(dim=(2, 3))
    visible = target_visibility(probabilities.argmax(dim=1), probabilities.shape[1] - 1, min_cells)
    return visible.to(probabilities.dtype)
