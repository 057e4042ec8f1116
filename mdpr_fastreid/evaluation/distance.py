"""Distances between query and gallery features, in blocks, on the device the features are on."""

from collections.abc import Iterable, Iterator

import torch

from mdpr_fastreid.evaluation.features import (
    Features,
    as_features,
    blocks_with_progress,
    full_precision,
    like_input,
    row_slices,
    squared_norms,
)

BLOCK_METRICS = ("cosine", "euclidean")
"""The metrics of :func:`distance_blocks`."""

_CACHED_ROWS = 512


def squared_euclidean_distances(query: Features, gallery: Features) -> Features:
    """Squared euclidean distances, which is what FastReID's metric ``euclidean`` is.

    Args:
        query: ``[Q, D]`` NumPy array or tensor.
        gallery: ``[G, D]``.

    Returns:
        ``[Q, G]`` float32: NumPy if ``query`` is, else a tensor on its device. Rounding may leave a distance
        slightly below zero, as in the toolbox.

    Raises:
        ValueError: not matrices, of different widths, empty, or with values that are not finite.
    """
    given = query
    query, gallery = _checked(query, gallery, directed=False)
    return like_input(_gathered(squared_distance_blocks(query, gallery), query, gallery), given)


def squared_distance_blocks(
    query: torch.Tensor, gallery: torch.Tensor, elements: int | None = None
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Squared euclidean distances of checked features, some rows of queries at a time.

    Args:
        query: ``[Q, D]`` float32.
        gallery: ``[G, D]`` float32.
        elements: about how many distances a block has.

    Yields:
        The rows of a block, and its distances ``[rows, G]``, which the caller may overwrite.
    """
    query_norms, gallery_norms = squared_norms(query), squared_norms(gallery)
    for rows in blocks_with_progress(row_slices(len(query), len(gallery), elements), "distances"):
        yield rows, _products(query[rows] * -2, gallery).add_(gallery_norms).add_(query_norms[rows, None])


def cosine_distances(query: Features, gallery: Features) -> Features:
    """One minus the cosine of the angle between features: 0 for one direction, 2 for opposite ones.

    Args:
        query: ``[Q, D]`` NumPy array or tensor; need not be normalised.
        gallery: ``[G, D]``.

    Returns:
        ``[Q, G]`` float32: NumPy if ``query`` is, else a tensor on its device.

    Raises:
        ValueError: as :func:`squared_euclidean_distances`, and for a feature of zero length, which has no direction.
    """
    given = query
    query, gallery = _directions(query, gallery)
    return like_input(_gathered(cosine_distance_blocks(query, gallery), query, gallery), given)


def distance_blocks(metric: str, query: Features, gallery: Features) -> Iterator[tuple[slice, torch.Tensor]]:
    """The distances that :func:`cosine_distances` or :func:`squared_euclidean_distances` gives, some rows at a time.

    Args:
        metric: ``cosine`` or ``euclidean``.
        query: ``[Q, D]`` NumPy array or tensor.
        gallery: ``[G, D]``.

    Returns:
        Of each block the rows, and its distances ``[rows, G]`` float32 on the device of the query.

    Raises:
        ValueError: as those, at once.
    """
    if metric == "cosine":
        return cosine_distance_blocks(*_directions(query, gallery))
    return squared_distance_blocks(*_checked(query, gallery, directed=False))


def cosine_distance_blocks(query: torch.Tensor, gallery: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Cosine distances of normalised features, some rows of queries at a time, as :func:`squared_distance_blocks`."""
    for rows in blocks_with_progress(row_slices(len(query), len(gallery)), "distances"):
        yield rows, _products(query[rows], gallery).neg_().add_(1)


def _products(query: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    """Inner products ``[Q, G]`` in full precision.

    On a CPU the gallery goes in parts that stay in the cache: with all of it at once MKL takes a quarter longer on
    an AMD processor.
    """
    products = query.new_empty(len(query), len(gallery))
    step = _CACHED_ROWS if query.device.type == "cpu" else len(gallery)
    with full_precision():
        for start in range(0, len(gallery), step):
            columns = slice(start, start + step)
            torch.mm(query, gallery[columns].T, out=products[:, columns])
    return products


def _gathered(blocks: Iterable[tuple[slice, torch.Tensor]], query: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    distances = query.new_empty(len(query), len(gallery))
    for rows, block in blocks:
        distances[rows] = block
    return distances


def _directions(query: Features, gallery: Features) -> tuple[torch.Tensor, torch.Tensor]:
    query, gallery = _checked(query, gallery, directed=True)
    return torch.nn.functional.normalize(query, dim=1), torch.nn.functional.normalize(gallery, dim=1)


def _checked(query: Features, gallery: Features, directed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    query = as_features(query, "query", directed=directed)
    gallery = as_features(gallery, "gallery", width=query.shape[1], directed=directed)
    return query, gallery.to(query.device)
