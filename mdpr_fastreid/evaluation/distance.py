"""Distances between query and gallery features, in blocks, on the device the features are on."""

from collections.abc import Iterator

import torch

from mdpr_fastreid.evaluation.features import (
    BLOCK_ELEMENTS,
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
_ROWS = 64
_MOST_ELEMENTS = 2**26
# What torch.nn.functional.normalize divides by at least
_SHORTEST = 1e-12


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
    return _distances("euclidean", query, gallery)


def squared_distance_blocks(
    query: torch.Tensor, gallery: torch.Tensor, elements: int | None = None, columns: int | None = None
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Squared euclidean distances of checked features, some rows of queries at a time.

    Args:
        query: ``[Q, D]`` float32.
        gallery: ``[G, D]`` float32.
        elements: about how many distances a block has.
        columns: as for :func:`distance_blocks`.

    Yields:
        The rows of a block, and its distances ``[rows, G]``, which the caller may overwrite.
    """
    query_norms, gallery_norms = squared_norms(query), squared_norms(gallery)
    for rows in query_blocks(len(query), columns or len(gallery), elements):
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
    return _distances("cosine", query, gallery)


def distance_blocks(
    metric: str, query: Features, gallery: Features, columns: int | None = None
) -> Iterator[tuple[slice, torch.Tensor]]:
    """The distances that :func:`cosine_distances` or :func:`squared_euclidean_distances` gives, some rows at a time.

    Beside the features and a block of at most 256 MiB it takes no memory to speak of.

    Args:
        metric: ``cosine`` or ``euclidean``.
        query: ``[Q, D]`` NumPy array or tensor.
        gallery: ``[G, D]``.
        columns: choose the rows as if the gallery had that many images: processes with a part of it each go through
            the same blocks.

    Returns:
        Of each block the rows, and its distances ``[rows, G]`` float32 on the device of the query.

    Raises:
        ValueError: as those, at once.
    """
    query, gallery = _checked(query, gallery, directed=metric == "cosine")
    if metric == "cosine":
        query = torch.nn.functional.normalize(query, dim=1)
        if gallery.device.type != "cpu":  # a product takes all of it at once there
            return cosine_distance_blocks(query, torch.nn.functional.normalize(gallery, dim=1), columns=columns)
        return cosine_distance_blocks(query, gallery, _lengths(gallery), columns)
    return squared_distance_blocks(query, gallery, columns=columns)


def cosine_distance_blocks(
    query: torch.Tensor, gallery: torch.Tensor, lengths: torch.Tensor | None = None, columns: int | None = None
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Cosine distances of normalised features, some rows of queries at a time, as :func:`squared_distance_blocks`.

    Args:
        query: ``[Q, D]``, normalised.
        gallery: ``[G, D]``, normalised unless there are ``lengths``.
        lengths: ``[G, 1]`` of the gallery's features.
        columns: as for :func:`distance_blocks`.
    """
    for rows in query_blocks(len(query), columns or len(gallery)):
        yield rows, _products(query[rows], gallery, lengths).neg_().add_(1)


def _lengths(features: torch.Tensor) -> torch.Tensor:
    """What divides features into those of ``torch.nn.functional.normalize``: ``[N, 1]``."""
    return torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp_min_(_SHORTEST)


def query_blocks(queries: int, columns: int, elements: int | None = None) -> Iterator[slice]:
    """The rows of :func:`distance_blocks`, with a progress display.

    Products of few rows at a time would wait for the gallery to come from memory, so a very large one has some all the
    same, in blocks of up to 256 MiB.

    Args:
        queries: how many.
        columns: gallery images.
        elements: about how many distances a block has.
    """
    if elements is None and _ROWS * columns > BLOCK_ELEMENTS:
        elements = min(_ROWS * columns, _MOST_ELEMENTS)
    return blocks_with_progress(row_slices(queries, columns, elements), "distances")


def _products(query: torch.Tensor, gallery: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    """Inner products ``[Q, G]`` in full precision, with gallery features divided by their lengths ``[G, 1]``, if given.

    On a CPU the gallery goes in parts that stay in the cache: with all of it at once MKL takes a quarter longer on
    an AMD processor. Dividing such a part takes less than a copy of the whole gallery would: its memory.
    """
    products = query.new_empty(len(query), len(gallery))
    step = _CACHED_ROWS if query.device.type == "cpu" else len(gallery)
    with full_precision():
        for start in range(0, len(gallery), step):
            columns = slice(start, start + step)
            part = gallery[columns] if lengths is None else gallery[columns] / lengths[columns]
            torch.mm(query, part.T, out=products[:, columns])
    return products


def _distances(metric: str, query: Features, gallery: Features) -> Features:
    blocks = distance_blocks(metric, query, gallery)
    distances = torch.empty(len(query), len(gallery), device=torch.as_tensor(query).device)
    for rows, block in blocks:
        distances[rows] = block
    return like_input(distances, query)


def _checked(query: Features, gallery: Features, directed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    query = as_features(query, "query", directed=directed)
    gallery = as_features(gallery, "gallery", width=query.shape[1], directed=directed)
    return query, gallery.to(query.device)
