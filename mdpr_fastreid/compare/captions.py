"""What a model says it compared of the pairs in rank lists."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.evaluation.outputs import Outputs, count, rows

Compared = Callable[[Outputs, Outputs], Sequence[str]]
"""A line for each of ``P`` pairs: of the outputs of ``P`` queries and of the ``P`` gallery images beside them."""

_PAIRS_AT_A_TIME = 1024


def captions_of(
    compared: Compared, query: Outputs, gallery: Outputs, queries: np.ndarray, listed: np.ndarray
) -> np.ndarray:
    """Captions of rank lists.

    Args:
        compared: the model's.
        query: outputs of the ``Q`` queries.
        gallery: outputs of the ``G`` gallery images.
        queries: ``[V]`` indices of queries.
        listed: ``[V, L]`` indices of gallery images in the test set, in which they follow the queries; -1 for none.

    Returns:
        ``[V, L]`` text, empty where no image is listed.

    Raises:
        SettingsError: what ``compared`` returns is no list of as many texts as it got pairs.
    """
    row, place = np.nonzero(listed >= 0)
    of_query, of_gallery = torch.from_numpy(queries[row]), torch.from_numpy(listed[row, place] - count(query))
    lines: list[str] = []
    for start in range(0, len(row), _PAIRS_AT_A_TIME):
        part = slice(start, start + _PAIRS_AT_A_TIME)
        pairs = rows(query, of_query[part]), rows(gallery, of_gallery[part])
        lines += _checked(compared(*pairs), len(of_query[part]))
    captions = np.full(listed.shape, "", dtype=f"<U{max(map(len, lines), default=1) or 1}")
    captions[row, place] = lines
    return captions


def _checked(lines: Sequence[str], pairs: int) -> list[str]:
    if isinstance(lines, list | tuple) and len(lines) == pairs and all(isinstance(line, str) for line in lines):
        return list(lines)
    size = f" of {len(lines)}" if isinstance(lines, list | tuple) else ""
    raise SettingsError(
        f"a model's compared() must return a list of {pairs} texts for {pairs} pairs, got {type(lines).__name__}{size}"
    )
