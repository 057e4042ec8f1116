"""The k-reciprocal encoding (Zhong et al., CVPR 2017) as sparse rows: sets, expansion, weights, jaccard distance.

Nothing here is ``N x N`` and nothing loops over images. A set of images, or a row of weights, is kept as
compressed sparse rows; rows are handled some thousand at a time, so that intermediates stay small.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch

from mdpr_fastreid.evaluation.features import row_slices

# Squared distances of the pairs (rows, columns), all three [P]
PairDistances = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# Elements of an intermediate: it should stay in the processor's cache, or busy a GPU
_BLOCK_ELEMENTS = {"cpu": 2**18, "cuda": 2**25}

# Bytes of the table that says which images are in the sets of a block's
_TABLE_CELLS = 2**28


class SparseRows(NamedTuple):
    """A non-negative ``[N, N]`` matrix in compressed sparse rows, columns ascending within a row."""

    starts: torch.Tensor
    """``[N + 1]``: row ``i`` is entries ``starts[i]`` up to ``starts[i + 1]``."""
    columns: torch.Tensor
    """``[E]`` int64."""
    values: torch.Tensor
    """``[E]`` float32."""


def encode(
    neighbors: torch.Tensor, k1: int, k2: int, pair_distances: PairDistances, last_counts_twice: bool = False
) -> SparseRows:
    """Encode every image as weights over its expanded k-reciprocal neighbours (equations 5, 7 and 11 of the paper).

    Args:
        neighbors: ``[N, K]`` int64, nearest first, the image itself included.
        k1: an image and one of its first ``k1 + 1`` neighbours are reciprocal if each is among the other's.
        k2: the encoding is the mean over that many nearest neighbours; 1 leaves it as it is.
        pair_distances: squared distances of pairs of images.
        last_counts_twice: see :func:`_weigh`.

    Returns:
        The ``[N, N]`` encoding; a row sums to 1, or is empty if an image is not even its own neighbour.
    """
    count = len(neighbors)
    nearest = neighbors[:, : k1 + 1].contiguous()
    # The paper halves k1 for the candidates' sets; the original code rounds half to even, and so does `round`
    half = neighbors[:, : round(k1 / 2) + 1].contiguous()
    reciprocal, half_reciprocal = reciprocal_mask(nearest), reciprocal_mask(half)
    step = max(1, min(_block_elements(nearest) // (2 * half.shape[1] * nearest.shape[1]), _TABLE_CELLS // count))
    # One table for all blocks: to make one for each takes longer than all that is done with it
    is_own = torch.zeros(min(step, count) * count, dtype=torch.bool, device=nearest.device)
    parts = []
    for rows in row_slices(count, 1, step):
        row, column = _expand(rows, nearest, reciprocal, half, half_reciprocal, is_own)
        weights = _weigh(rows, row, column, pair_distances, last_counts_twice)
        parts.append((torch.bincount(row - rows.start, minlength=rows.stop - rows.start), column, weights))
    encoding = _stack(parts)
    return encoding if k2 == 1 else mean_rows(encoding, neighbors[:, :k2])


def reciprocal_mask(neighbors: torch.Tensor) -> torch.Tensor:
    """Which neighbours have the image among their own: ``[N, K]`` bool for ``[N, K]`` indices."""
    mask = torch.empty_like(neighbors, dtype=torch.bool)
    images = torch.arange(len(neighbors), device=neighbors.device)
    for rows in _blocks(neighbors, *neighbors.shape, neighbors.shape[1]):
        mask[rows] = (neighbors[neighbors[rows]] == images[rows, None, None]).any(dim=2)
    return mask


def _expand(
    rows: slice,
    nearest: torch.Tensor,
    reciprocal: torch.Tensor,
    half: torch.Tensor,
    half_reciprocal: torch.Tensor,
    is_own: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The expanded sets of a block of images, as sorted pairs (image, member): equation 3 of the paper.

    A candidate's set joins where more than two thirds of it is in the image's own set. ``is_own``, a cell for each
    image of the block and each image, is all False before and after.
    """
    count = len(nearest)
    row, rank = reciprocal[rows].nonzero(as_tuple=True)
    candidate = nearest[rows][row, rank]
    own = row * count + candidate
    members, is_member = (row * count)[:, None] + half[candidate], half_reciprocal[candidate]
    is_own[own] = True
    shared = is_own[members] & is_member
    is_own[own] = False
    joins = 3 * shared.sum(dim=1) > 2 * is_member.sum(dim=1)
    pairs = torch.cat((own, members[is_member & joins[:, None]])).unique()
    return rows.start + pairs // count, pairs % count


def _weigh(
    rows: slice, row: torch.Tensor, column: torch.Tensor, pair_distances: PairDistances, last_counts_twice: bool
) -> torch.Tensor:
    """Softmax of the negative squared distances within each image's set.

    ``last_counts_twice`` keeps what stock FastReID gives with fewer images than ``k1``: its search fills up with
    -1, which NumPy takes for the last image, and so that one enters the sum a second time.
    """
    row = row - rows.start
    distances = pair_distances(row + rows.start, column)
    smallest = distances.new_full((rows.stop - rows.start,), torch.inf).scatter_reduce_(0, row, distances, "amin")
    weights = (smallest[row] - distances).exp_()
    total = torch.zeros_like(smallest).index_add_(0, row, weights)
    if last_counts_twice:
        total += weights[column == column.max()]
    return weights / total[row]


def mean_rows(encoding: SparseRows, neighbors: torch.Tensor) -> SparseRows:
    """Local query expansion: each row becomes the mean of the rows of its neighbours ``[N, k2]`` (equation 11)."""
    count, k2 = neighbors.shape
    lengths = encoding.starts.diff()
    parts = []
    for rows in _blocks(neighbors, count, k2 * max(1, len(encoding.columns) // count)):
        sources = neighbors[rows].flatten()
        position, source = _ranges(encoding.starts[sources], lengths[sources])
        key = (source // k2) * count + encoding.columns[position]
        key, inverse = key.unique(return_inverse=True)
        values = encoding.values.new_zeros(len(key)).index_add_(0, inverse, encoding.values[position])
        parts.append((torch.bincount(key // count, minlength=rows.stop - rows.start), key % count, values / k2))
    return _stack(parts)


def jaccard_distances(encoding: SparseRows, num_query: int, first_gallery: int) -> torch.Tensor:
    """Jaccard distances of the first ``num_query`` images to those from ``first_gallery`` on (equation 10).

    Rows sum to 1, so the sum of minima ``m`` decides all: maxima sum to ``2 - m``. It is gathered through an
    inverted index: for each column an image has, all images that have it too.

    Returns:
        ``[num_query, N - first_gallery]`` float32.
    """
    count = len(encoding.starts) - 1
    num_gallery = count - first_gallery
    skipped = int(encoding.starts[first_gallery])
    column, order = encoding.columns[skipped:].sort(stable=True)
    lengths = torch.bincount(column, minlength=count)
    starts = lengths.cumsum(0) - lengths
    image = torch.repeat_interleave(encoding.starts[first_gallery:].diff())[order]
    value = encoding.values[skipped:][order]

    row_of_entry = torch.repeat_interleave(encoding.starts[: num_query + 1].diff())
    costs = torch.zeros(num_query, dtype=torch.int64, device=lengths.device)
    costs.index_add_(0, row_of_entry, lengths[encoding.columns[: len(row_of_entry)]])
    # Images that share nothing stay at 1; where they share, a cell first holds 1 - m, so that one array is enough
    distances = encoding.values.new_ones(num_query, num_gallery)
    for rows in _even_parts(costs, _block_elements(distances)):
        entries = slice(int(encoding.starts[rows.start]), int(encoding.starts[rows.stop]))
        columns = encoding.columns[entries]
        position, entry = _ranges(starts[columns], lengths[columns])
        smaller = torch.minimum(encoding.values[entries][entry], value[position])
        cell = (row_of_entry[entries][entry] - rows.start) * num_gallery + image[position]
        cells = distances[rows].view(-1)
        cells.index_add_(0, cell, smaller, alpha=-1)
        rest = cells[cell].clamp_(min=0)
        cells[cell] = 2 * rest / (1 + rest)
    return distances


def _even_parts(costs: torch.Tensor, limit: int) -> list[slice]:
    """Slices over rows whose costs add up to about ``limit``: one image may be in the sets of all others."""
    part = costs.cumsum(0) // limit
    edges = [0, *(part.diff().nonzero().flatten() + 1).tolist(), len(costs)]
    return [slice(low, high) for low, high in itertools.pairwise(edges)]


def _ranges(starts: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """All numbers of the ranges ``starts[i] ... starts[i] + lengths[i] - 1``, and the ``i`` of each."""
    source = torch.repeat_interleave(lengths)
    first = lengths.cumsum(0) - lengths
    return torch.arange(len(source), device=starts.device) + (starts - first)[source], source


def _stack(parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> SparseRows:
    lengths, columns, values = (torch.cat(part) for part in zip(*parts, strict=True))
    return SparseRows(torch.nn.functional.pad(lengths.cumsum(0), (1, 0)), columns, values)


def _block_elements(tensor: torch.Tensor) -> int:
    return _BLOCK_ELEMENTS.get(tensor.device.type, _BLOCK_ELEMENTS["cpu"])


def _blocks(tensor: torch.Tensor, rows: int, *columns: int):
    elements = 1
    for size in columns:
        elements *= size
    return row_slices(rows, elements, _block_elements(tensor))
