"""Distances of pairs of images that are never all there at once: those found by a search, and those of any distance."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from mdpr_fastreid.evaluation.arguments import need_no_negatives
from mdpr_fastreid.evaluation.features import Features, blocks_with_progress, row_slices
from mdpr_fastreid.evaluation.outputs import Distance, Outputs, count, rows

# Distances that a search has at once: 256 MiB of float32
_BLOCK_ELEMENTS = 2**26
# Images whose missing pairs are computed together: the more, the more of what is computed nobody asked for
_IMAGES_AT_A_TIME = 32
# How far a distance of two images may be from that of the same two among many
_RELATIVE, _ABSOLUTE = 1e-2, 1e-3


class FoundPairs:
    """Distances that a search has found, to be looked up by pair.

    Args:
        neighbors: ``[N, K]`` int64, the images that were found for each.
        nearest: ``[N, K]``, their distances.
    """

    def __init__(self, neighbors: torch.Tensor, nearest: torch.Tensor) -> None:
        self._count = len(neighbors)
        images = torch.arange(self._count, device=neighbors.device)[:, None] * self._count
        known, order = (images + neighbors).sort(dim=1)
        self._known, self._nearest = known.flatten(), nearest.gather(1, order).flatten()

    def look_up(self, rows: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances ``[P]`` of the pairs (rows, columns), and the places in it, ``[M]``, of those that were not found.

        Args:
            rows: ``[P]`` int64.
            columns: ``[P]`` int64.
        """
        key = rows * self._count + columns
        at = torch.searchsorted(self._known, key).clamp_(max=len(self._known) - 1)
        return self._nearest[at], (self._known[at] != key).nonzero().flatten()


class Search(NamedTuple):
    """What is kept of the distances of ``N = Q + G`` images, queries first."""

    neighbors: torch.Tensor
    """``[N, K]`` int64, nearest first."""
    nearest: torch.Tensor
    """``[N, K]`` their distances."""
    farthest: torch.Tensor
    """``[N]`` the largest distance of each image."""
    query_gallery: torch.Tensor
    """``[Q, G]``."""


class PairwiseDistances:
    """A distance among all of the queries and the gallery images, some rows at a time.

    Row ``i`` of the joint matrix has the distances *to* image ``i``, but for those between a query and a gallery image,
    which are from the query to the gallery image: as in the code of re-ranking's authors.

    Args:
        distance: which computes each pair on its own.
        query: outputs of ``Q`` images.
        gallery: outputs of ``G`` images.

    Raises:
        ValueError: there is no query, or no gallery image.
    """

    def __init__(self, distance: Distance, query: Outputs, gallery: Outputs) -> None:
        self._distance, self._query, self._gallery = distance, query, gallery
        self._num_query, self._num_gallery = count(query), count(gallery)
        self._device = next(iter(query.values())).device if isinstance(query, dict) else query.device
        if not self._num_query or not self._num_gallery:
            raise ValueError(f"there is no {'gallery' if self._num_query else 'query'} image")

    def search(self, k: int) -> Search:
        """The ``k`` nearest of all images, or as many as there are, for every image, itself included.

        Raises:
            ValueError: what the distance gives is no distance of pairs, see :func:`distances_of`.
        """
        total = self._num_query + self._num_gallery
        k = min(k, total)
        found = Search(
            torch.empty(total, k, dtype=torch.int64, device=self._device),
            torch.empty(total, k, device=self._device),
            torch.empty(total, device=self._device),
            torch.empty(self._num_query, self._num_gallery, device=self._device),
        )
        for images, block in self._blocks():
            if images.start < self._num_query:
                found.query_gallery[images] = block[:, self._num_query :]
            found.nearest[images], found.neighbors[images] = block.topk(k, dim=1, largest=False)
            found.farthest[images] = block.amax(dim=1)
        need_no_negatives(_name(self._distance), float(found.nearest.min()), float(found.farthest.max()))
        self._check_a_pair_alone(found.query_gallery)
        return found

    def of(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Distances ``[P]`` of pairs of images, in blocks: some rows by all the columns that any of them has.

        Args:
            rows: ``[P]`` int64, ascending.
            columns: ``[P]`` int64.
        """
        distances = torch.empty(len(rows), device=self._device)
        for low, high in ((0, self._num_query), (self._num_query, self._num_query + self._num_gallery)):
            within = ((rows >= low) & (rows < high)).nonzero().flatten()
            images, position = rows[within].unique_consecutive(return_inverse=True)
            for part in range(0, len(images), _IMAGES_AT_A_TIME):
                some = images[part : part + _IMAGES_AT_A_TIME]
                chosen = (position >= part) & (position < part + len(some))
                others, column = columns[within[chosen]].unique(return_inverse=True)
                distances[within[chosen]] = self._rows(some, others)[position[chosen] - part, column]
        return distances

    def _blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rows of the joint matrix: those of queries, then those of gallery images: no block has both."""
        total = self._num_query + self._num_gallery
        blocks = [
            *row_slices(self._num_query, total, _BLOCK_ELEMENTS),
            *(
                slice(block.start + self._num_query, block.stop + self._num_query)
                for block in row_slices(self._num_gallery, total, _BLOCK_ELEMENTS)
            ),
        ]
        for images in blocks_with_progress(blocks, "nearest neighbors"):
            yield images, self._rows(images, None)

    def _rows(self, images: slice | torch.Tensor, others: torch.Tensor | None) -> torch.Tensor:
        """``[images, others]`` of the joint matrix, for images that are all queries, or all of the gallery.

        Args:
            images: a slice, or indices, ascending.
            others: indices, ascending; None for all.
        """
        first = images.start if isinstance(images, slice) else int(images[0])
        queries, gallery = self._query, self._gallery
        if others is not None:
            queries = rows(queries, others[others < self._num_query])
            gallery = rows(gallery, others[others >= self._num_query] - self._num_query)
        if first < self._num_query:
            own = rows(self._query, images)
            parts = [self._between(queries, own).T, self._between(own, gallery)]
        else:
            own = rows(self._gallery, _shifted(images, -self._num_query))
            parts = [self._between(queries, own).T, self._between(gallery, own).T]
        return torch.cat(parts, dim=1)

    def _between(self, query: Outputs, gallery: Outputs) -> torch.Tensor:
        if not count(query) or not count(gallery):
            return torch.empty(count(query), count(gallery), device=self._device)
        distances = distances_of(self._distance, query, gallery)
        distances = torch.as_tensor(distances).to(self._device, torch.float32)
        if not torch.isfinite(distances).all():
            raise ValueError(f"{_name(self._distance)} gave NaN or infinite distances, which cannot be re-ranked")
        return distances

    def _check_a_pair_alone(self, query_gallery: torch.Tensor) -> None:
        """Find out on one pair, the farthest of the first query, whether the distance depends on what else is there."""
        column = int(query_gallery[0].argmax())
        alone = self._between(rows(self._query, slice(1)), rows(self._gallery, slice(column, column + 1)))
        two, many = float(alone[0, 0]), float(query_gallery[0, column])
        if not math.isclose(two, many, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE):
            raise ValueError(
                f"{_name(self._distance)} gave {two:.4g} of two images alone, and {many:.4g} of the same two among "
                "others: what is re-ranked must compute each pair on its own"
            )


def distances_of(distance: Distance, query: Outputs, gallery: Outputs) -> Features:
    """What a distance gives.

    Raises:
        ValueError: it is not ``[Q, G]``.
    """
    distances = distance(query, gallery)
    expected = count(query), count(gallery)
    if np.shape(distances) != expected:
        raise ValueError(
            f"a distance must be [Q, G], here {list(expected)}, but {_name(distance)} returned "
            f"{list(np.shape(distances))}"
        )
    return distances


def _name(distance: Distance) -> str:
    return getattr(distance, "__name__", type(distance).__name__)


def _shifted(images: slice | torch.Tensor, by: int) -> slice | torch.Tensor:
    return slice(images.start + by, images.stop + by) if isinstance(images, slice) else images + by
