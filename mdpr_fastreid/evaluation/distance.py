"""Distances between query and gallery features, in blocks, on the device the features are on."""

from collections.abc import Iterator

import torch

from mdpr_fastreid.evaluation.features import (
    Features,
    as_features,
    full_precision,
    given_back,
    row_slices,
    squared_norms,
)


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
    distances = query.new_empty(len(query), len(gallery))
    for rows, block in squared_distance_blocks(query, gallery):
        distances[rows] = block
    return given_back(distances, given)


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
    for rows in row_slices(len(query), len(gallery), elements):
        with full_precision():
            distances = torch.addmm(gallery_norms[None], query[rows], gallery.T, alpha=-2)
        yield rows, distances.add_(query_norms[rows, None])


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
    query, gallery = _checked(query, gallery, directed=True)
    query = torch.nn.functional.normalize(query, dim=1)
    gallery = torch.nn.functional.normalize(gallery, dim=1)
    distances = query.new_empty(len(query), len(gallery))
    with full_precision():
        for rows in row_slices(*distances.shape):
            torch.mm(query[rows], gallery.T, out=distances[rows])
            distances[rows].neg_().add_(1)
    return given_back(distances, given)


def _checked(query: Features, gallery: Features, directed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    query = as_features(query, "query", directed=directed)
    gallery = as_features(gallery, "gallery", width=query.shape[1], directed=directed)
    return query, gallery.to(query.device)
