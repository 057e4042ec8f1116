"""Distances between images over the parts visible in both, and what was compared."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from mdpr_fastreid.evaluation.features import Features, blocks_with_progress, full_precision, like_input, row_slices

NOTHING_IN_COMMON = 3.0
"""The distance of two images with no common part: above that of any two unit vectors, which is 2 at most."""

_NO_LENGTH = 1e-12
_PAIRS_AT_ONCE = 2**14


def part_distances(
    query: Features,
    gallery: Features,
    query_visibility: Features | None = None,
    gallery_visibility: Features | None = None,
    block: int = 1024,
) -> Features:
    """Mean euclidean distance over the parts of two images, weighted by their visibility (arXiv 2211.03679).

    ``D(q, x) = sum_j w_j |e_q^j - e_x^j| / sum_j w_j`` with ``w_j = sqrt(v_q^j v_x^j)`` and each embedding scaled to
    length 1; an embedding of zeros stays zero. The distance is 3 where no part is common. It is computed for ``block``
    queries and ``block`` gallery images at a time, by one matrix product a part, so that beside the result it takes the
    memory of some blocks.

    Args:
        query: ``[Q, J, E]`` NumPy array or tensor of the ``J`` embeddings of each image, of any length.
        gallery: ``[G, J, E]``.
        query_visibility: ``[Q, J]``, bool, or numbers of 0 and more; None: everything is visible.
        gallery_visibility: ``[G, J]``.
        block: images on each side of a block. The distances do not depend on it, but for rounding.

    Returns:
        ``[Q, G]``, float64 if both embeddings are, else float32: NumPy if ``query`` is, else a tensor on its device.
        Equal embeddings are at distance 0: near pairs are computed from differences.

    Raises:
        ValueError: shapes that do not fit each other, nothing to compare, or values that are NaN, infinite, or, of
            visibilities, negative.
    """
    double = all(str(embeddings.dtype).endswith("float64") for embeddings in (query, gallery))
    dtype = torch.float64 if double else torch.float32
    queries = _images(query, query_visibility, "query", dtype)
    others = _images(gallery, gallery_visibility, "gallery", dtype)
    if queries.embeddings.shape[1:] != others.embeddings.shape[1:]:
        shapes = (list(images.embeddings.shape[1:]) for images in (queries, others))
        raise ValueError("query images have embeddings {}, gallery images {}".format(*shapes))
    distances = queries.scales.new_empty(len(queries.scales), len(others.scales))
    with full_precision():
        for columns in blocks_with_progress(row_slices(distances.shape[1], 1, block), "distances"):
            scaled = others.scaled(columns, distances.device)
            for rows in row_slices(distances.shape[0], 1, block):
                distances[rows, columns] = _block(queries.rows(rows), scaled)
    return like_input(distances, query)


def compared_parts(query_visibility: Features, gallery_visibility: Features, names: Sequence[str]) -> list[str]:
    """What :func:`part_distances` compared in each of ``P`` pairs, in words.

    Args:
        query_visibility: ``[P, J]``, bool, or numbers of 0 and more.
        gallery_visibility: ``[P, J]``.
        names: of the ``J`` embeddings.

    Returns:
        ``P`` captions: the names of the common parts, ``all parts``, ``all but`` one or two of many, or
        ``no common part``.

    Raises:
        ValueError: the visibilities do not have one column for each name.
    """
    both = (_tensor(query_visibility) > 0) & (_tensor(gallery_visibility) > 0)
    if both.ndim != 2 or both.shape[1] != len(names):
        raise ValueError(f"visibilities must be [pairs, {len(names)}] for as many names, got {list(both.shape)}")
    return [_caption(common, names) for common in both.tolist()]


class _Images(NamedTuple):
    embeddings: torch.Tensor
    """``[N, J, E]``."""
    scales: torch.Tensor
    """``[N, J]``, what brings each embedding to length 1; 0 for one of zeros."""
    roots: torch.Tensor
    """``[N, J]``, ``sqrt(v)``."""

    def rows(self, rows: slice) -> "_Images":
        """Some of the images."""
        return _Images(*(field[rows] for field in self))

    def scaled(self, rows: slice, device: torch.device) -> "_Images":
        """Some of the images, their embeddings scaled."""
        embeddings, scales, roots = (field.to(device) for field in self.rows(rows))
        return _Images(embeddings * scales[:, :, None], scales, roots)


def _images(embeddings: Features, visibility: Features | None, name: str, dtype: torch.dtype) -> _Images:
    embeddings = _tensor(embeddings)
    if embeddings.ndim != 3 or 0 in embeddings.shape:
        shape = list(embeddings.shape)
        raise ValueError(f"{name} embeddings must be [images, parts, length], none of them 0, got {shape}")
    if not embeddings.is_floating_point() or torch.promote_types(embeddings.dtype, dtype) != dtype:
        embeddings = embeddings.to(dtype)
    lengths = torch.linalg.vector_norm(embeddings, dim=2, dtype=dtype)
    if not lengths.isfinite().all():
        row = int((~lengths.isfinite()).nonzero()[0, 0])
        raise ValueError(f"{name} embeddings have NaN, infinite or too large values, first in image {row}")
    roots = torch.ones_like(lengths) if visibility is None else _roots(visibility, lengths, name)
    return _Images(embeddings, lengths.reciprocal().masked_fill_(lengths < _NO_LENGTH, 0), roots)


def _roots(visibility: Features, lengths: torch.Tensor, name: str) -> torch.Tensor:
    visibility = _tensor(visibility)
    if visibility.shape != lengths.shape:
        shapes = f"{list(lengths.shape)}, as the embeddings are, got {list(visibility.shape)}"
        raise ValueError(f"{name} visibilities must be {shapes}")
    visibility = visibility.to(lengths)
    if not ((visibility >= 0) & visibility.isfinite()).all():
        raise ValueError(f"{name} visibilities must be 0 or more, and finite")
    return visibility.sqrt()


def _block(query: _Images, gallery: _Images) -> torch.Tensor:
    """Distances of images, those of the gallery with scaled embeddings."""
    products = query.roots @ gallery.roots.T
    nothing = products == 0
    total = torch.zeros_like(products)
    # The squared length of a scaled embedding: 1, or 0 for one of zeros
    query_squares, gallery_squares = ((images.scales > 0).to(total) for images in (query, gallery))
    for part in range(query.embeddings.shape[1]):
        queries, others = query.embeddings[:, part].to(total), gallery.embeddings[:, part].to(total)
        scales = query.scales[:, part, None]
        squared = (queries @ others.T).mul_(scales * -2)
        squared.add_(query_squares[:, part, None]).add_(gallery_squares[:, part])
        _recompute_near(squared, queries, scales, others)
        weighted = squared.clamp_min_(0).sqrt_().mul_(query.roots[:, part, None])
        total.addcmul_(weighted, gallery.roots[:, part])
    return total.div_(products.masked_fill_(nothing, 1)).masked_fill_(nothing, NOTHING_IN_COMMON)


def _recompute_near(squared: torch.Tensor, queries: torch.Tensor, scales: torch.Tensor, others: torch.Tensor) -> None:
    """Squared distances so small that rounding of the product is all there is of them, from differences, in place."""
    # Embeddings of zeros may be many, and the distance between two of them, exactly 0, is right
    pairs = ((squared < torch.finfo(squared.dtype).eps ** 0.5) & (scales != 0)).nonzero()
    for some in pairs.split(_PAIRS_AT_ONCE):
        row, column = some.unbind(dim=1)
        squared[row, column] = (queries[row] * scales[row] - others[column]).square_().sum(dim=1)


def _tensor(values: Features) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values).detach()


def _caption(common: list[bool], names: Sequence[str]) -> str:
    compared = [name for name, is_common in zip(names, common, strict=True) if is_common]
    missing = [name for name, is_common in zip(names, common, strict=True) if not is_common]
    if not missing:
        return "all parts"
    if len(missing) <= 2 and 2 * len(missing) <= len(compared):
        return f"all but {', '.join(missing)}"
    return ", ".join(compared) or "no common part"
