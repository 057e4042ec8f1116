"""Re-ranking with k-reciprocal encoding (Zhong et al., CVPR 2017, arXiv 1701.08398) on any device, sparse.

Two images of one identity are likely to be among each other's nearest neighbours, and to share them. The distance
of their neighbourhoods therefore corrects the distance of their features.

============================  ==========================================================================
:func:`k_reciprocal_jaccard`  distances of the neighbourhoods alone: FastReID's ``compute_jaccard_distance``
:func:`blended_distances`     the same mixed with the distances of the features, as its evaluator does
:func:`rerank`                the paper's final distance, from features
:func:`rerank_distances`      the same, from distance matrices
:func:`rerank_by`             the same, by any distance, without its matrices
============================  ==========================================================================
"""

import torch
from torch.nn.functional import pad

from mdpr_fastreid.evaluation.arguments import need_no_negatives, need_share, need_whole
from mdpr_fastreid.evaluation.distance import cosine_distance_blocks, squared_distance_blocks
from mdpr_fastreid.evaluation.features import Features, as_features, joined, like_input, row_slices, squared_norms
from mdpr_fastreid.evaluation.k_reciprocal import encode, jaccard_distances
from mdpr_fastreid.evaluation.neighbors import Search, nearest_neighbors, search_blocks
from mdpr_fastreid.evaluation.outputs import Distance, Outputs
from mdpr_fastreid.evaluation.pairwise import FoundPairs, PairwiseDistances

METRICS = {"cosine": cosine_distance_blocks, "euclidean": squared_distance_blocks, "jaccard": None}
"""What :func:`blended_distances` mixes the jaccard distance with."""


def k_reciprocal_jaccard(query: Features, gallery: Features | None = None, k1: int = 20, k2: int = 6) -> Features:
    """Jaccard distances between the k-reciprocal neighbourhoods of images.

    Neighbourhoods are taken among all images given, query and gallery. The numbers are those of FastReID's
    ``compute_jaccard_distance``: ``k1`` neighbours, weights ``exp(-d)`` of the squared euclidean distance ``d``.
    Normalise the features first if cosine is what compares them.

    With ``N = Q + G`` images the search takes ``2 N^2 D`` operations, the rest about ``N (k1^2 k1/2 + k2 k1)``.
    Beside the features and the result it needs some 5 KiB an image and the search's blocks (at most 300 MiB).

    Args:
        query: ``[Q, D]`` NumPy array or tensor, float16, float32 or float64. Computed in float32, on its device.
        gallery: ``[G, D]``. None asks for the distances of all images of ``query`` to each other.
        k1: size of the neighbourhoods.
        k2: how many nearest images a neighbourhood is averaged over; 1 for none.

    Returns:
        ``[Q, G]`` (``[Q, Q]`` without a gallery) float32 between 0 and 1, where 1 is nothing in common: NumPy if
        ``query`` is, else a tensor on its device.

    Raises:
        ValueError: features that are no matrix, empty, of different widths, not finite or of zero length; ``k1``
            or ``k2`` below 1.

    Example:
        >>> distances = k_reciprocal_jaccard(query, gallery)  # [Q, G]
        >>> best = distances.argmin(1)
    """
    _check_neighborhood(k1, k2)
    if gallery is None:
        features = as_features(query, "query", directed=True)
        num_query, first_gallery = len(features), 0
    else:
        features = joined(query, gallery)
        num_query = first_gallery = len(query)
    return like_input(_jaccard(features, num_query, first_gallery, k1, k2, nearest_neighbors), query)


def _jaccard(
    features: torch.Tensor, num_query: int, first_gallery: int, k1: int, k2: int, search: Search
) -> torch.Tensor:
    """Distances of the first ``num_query`` images to those from ``first_gallery`` on, for checked features."""
    neighbors, nearest = search(features, min(k1, len(features)))
    distances = _FeatureDistances(features, neighbors, nearest)
    # Fewer images than k1: the toolbox's search fills up with -1, and that is the last image to NumPy
    missing = k1 - neighbors.shape[1]
    neighbors = pad(neighbors, (0, missing), value=len(features) - 1)
    encoding = encode(neighbors, k1, k2, distances, last_counts_twice=missing > 0)
    return jaccard_distances(encoding, num_query, first_gallery)


def blended_distances(
    query: Features,
    gallery: Features,
    metric: str = "cosine",
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    search: Search = nearest_neighbors,
) -> Features:
    """``(1 - lambda) * jaccard + lambda * distance``: what FastReID's evaluator ranks by with ``TEST.RERANK``.

    The jaccard distance is that of :func:`k_reciprocal_jaccard`; with the metric cosine it is taken on normalised
    features. The distance is not scaled, other than in :func:`rerank`. It is added in blocks, so that nothing of the
    size of the result is there besides it.

    Args:
        query: ``[Q, D]`` NumPy array or tensor, float16, float32 or float64. Computed in float32, on its device.
        gallery: ``[G, D]``.
        metric: ``cosine``, ``euclidean`` (squared, as in FastReID) or ``jaccard``, which is blended with nothing.
        k1: size of the neighbourhoods.
        k2: how many nearest images a neighbourhood is averaged over; 1 for none.
        lambda_value: weight of the distance, 0 to 1.
        search: finds the neighbours, as :func:`mdpr_fastreid.evaluation.neighbors.nearest_neighbors` does.

    Returns:
        ``[Q, G]`` float32: NumPy if ``query`` is, else a tensor on its device.

    Raises:
        ValueError: as :func:`rerank`, and for another metric.
    """
    _check_neighborhood(k1, k2, lambda_value)
    if metric not in METRICS:
        raise ValueError(f"the metric must be {', '.join(METRICS)}, got {metric!r}")
    features, num_query = joined(query, gallery), len(query)
    if metric == "cosine":
        torch.nn.functional.normalize(features, dim=1, out=features)
    final = _jaccard(features, num_query, num_query, k1, k2, search)
    if blocks := METRICS[metric]:
        final *= 1 - lambda_value
        for rows, distances in blocks(features[:num_query], features[num_query:]):
            final[rows].add_(distances, alpha=lambda_value)
    return like_input(final, query)


def rerank(query: Features, gallery: Features, k1: int = 20, k2: int = 6, lambda_value: float = 0.3) -> Features:
    """The paper's final distance: ``(1 - lambda) * jaccard + lambda * original`` (equation 12).

    The numbers are those of the authors' code, and of FastReID's ``re_ranking``, on the euclidean distances of the
    features. It differs from :func:`k_reciprocal_jaccard` in detail: ``k1`` neighbours beside the image itself, and
    squared distances are divided by the largest of each image. Memory is the same; the search has to find the
    farthest image too, which FAISS's does not, so that it is torch's on a CPU as well.

    Args:
        query: ``[Q, D]`` NumPy array or tensor, float16, float32 or float64. Computed in float32, on its device.
        gallery: ``[G, D]``.
        k1: size of the neighbourhoods, the image itself not counted.
        k2: how many nearest images a neighbourhood is averaged over; 1 for none.
        lambda_value: weight of the original distance, 0 to 1.

    Returns:
        ``[Q, G]`` float32: NumPy if ``query`` is, else a tensor on its device.

    Raises:
        ValueError: as :func:`k_reciprocal_jaccard`, and ``lambda_value`` outside 0 to 1.
    """
    _check_neighborhood(k1, k2, lambda_value)
    features, num_query = joined(query, gallery), len(query)
    neighbors, nearest, farthest = search_blocks(features, min(max(k1 + 1, k2), len(features)))
    scale = farthest.clamp_(min=torch.finfo(torch.float32).tiny)
    distances = _FeatureDistances(features, neighbors, nearest, scale)
    final = jaccard_distances(encode(neighbors, k1, k2, distances), num_query, num_query)
    final *= 1 - lambda_value
    for rows, original in squared_distance_blocks(features[:num_query], features[num_query:]):
        final[rows] += original.mul_(lambda_value / scale[rows, None])
    return like_input(final, query)


def rerank_distances(
    query_gallery: Features,
    query_query: Features,
    gallery_gallery: Features,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
) -> Features:
    """:func:`rerank` for those who have distances instead of features.

    Args:
        query_gallery: ``[Q, G]`` distances (not squared), NumPy array or tensor.
        query_query: ``[Q, Q]``.
        gallery_gallery: ``[G, G]``.
        k1: size of the neighbourhoods, the image itself not counted.
        k2: how many nearest images a neighbourhood is averaged over; 1 for none.
        lambda_value: weight of the original distance, 0 to 1.

    Returns:
        ``[Q, G]`` float32: NumPy if ``query_gallery`` is, else a tensor on its device.

    Raises:
        ValueError: shapes that do not fit, values that are not finite or below zero, ``k1`` or ``k2`` below 1,
            ``lambda_value`` outside 0 to 1.
    """
    _check_neighborhood(k1, k2, lambda_value)
    given = query_gallery
    query_gallery = as_features(query_gallery, "query x gallery")
    num_query, num_gallery = query_gallery.shape
    query_query = as_features(query_query, "query x query").to(query_gallery.device)
    gallery_gallery = as_features(gallery_gallery, "gallery x gallery").to(query_gallery.device)
    if query_query.shape != (num_query, num_query) or gallery_gallery.shape != (num_gallery, num_gallery):
        raise ValueError(
            f"distances [Q, G] = {tuple(query_gallery.shape)} need query x query {(num_query, num_query)} and gallery "
            f"x gallery {(num_gallery, num_gallery)}, got {tuple(query_query.shape)}, {tuple(gallery_gallery.shape)}"
        )
    parts = (query_gallery, query_query, gallery_gallery)
    lowest, largest = min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)
    need_no_negatives("what is re-ranked", lowest, largest)
    matrices = _DistanceMatrices(*parts)
    neighbors = matrices.nearest_neighbors(min(max(k1 + 1, k2), num_query + num_gallery))
    final = jaccard_distances(encode(neighbors, k1, k2, matrices), num_query, num_query)
    original = (query_gallery**2).div_(matrices.scale[:num_query, None])
    return like_input(final.mul_(1 - lambda_value).add_(original, alpha=lambda_value), given)


def rerank_by(
    distance: Distance,
    query: Outputs,
    gallery: Outputs,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
) -> torch.Tensor:
    """:func:`rerank` by any distance, in memory that does not grow with the square of the gallery.

    The numbers are those of :func:`rerank_distances` on the three matrices of the distance. Of these there are only
    blocks of rows at a time; what is kept are the nearest neighbours, the farthest distance of each image, and
    ``[Q, G]`` twice. With ``N = Q + G`` images, ``N^2`` distances are computed once, and some again: those of images
    that are in each other's expanded neighbourhoods without being among the nearest.

    Args:
        distance: ``(query, gallery) -> [Q, G]`` (not squared), which computes **each pair on its own**: what it gives
            of two images must not depend on which others it is called with.
        query: outputs of ``Q`` images: a tensor, or a dict of tensors, with a row for each. The distance gets them, and
            parts of them, as they are.
        gallery: outputs of ``G`` images.
        k1: size of the neighbourhoods, the image itself not counted.
        k2: how many nearest images a neighbourhood is averaged over; 1 for none.
        lambda_value: weight of the original distance, 0 to 1.

    Returns:
        ``[Q, G]`` float32 on the device of the outputs.

    Raises:
        ValueError: the distance gives another shape, values that are not finite or below zero, or other values of a
            pair alone; no query or gallery image; ``k1`` or ``k2`` below 1, ``lambda_value`` outside 0 to 1.
    """
    _check_neighborhood(k1, k2, lambda_value)
    pairs = PairwiseDistances(distance, query, gallery)
    neighbors, nearest, farthest, original = pairs.search(max(k1 + 1, k2))
    scale = farthest.square_().clamp_(min=torch.finfo(torch.float32).tiny)
    found = FoundPairs(neighbors, nearest)

    def squared_distances(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        distances, missing = found.look_up(rows, columns)
        distances[missing] = pairs.of(rows[missing], columns[missing])
        return distances.square_().div_(scale[rows])

    num_query = len(original)
    final = jaccard_distances(encode(neighbors, k1, k2, squared_distances), num_query, num_query)
    original.square_().div_(scale[:num_query, None])
    return final.mul_(1 - lambda_value).add_(original, alpha=lambda_value)


def _check_neighborhood(k1: int, k2: int, lambda_value: float = 0.0) -> None:
    need_whole("k1", k1)
    need_whole("k2", k2)
    need_share("lambda_value", lambda_value)


class _FeatureDistances:
    """Squared euclidean distances of pairs: from the search where it found them, else from the features."""

    def __init__(
        self,
        features: torch.Tensor,
        neighbors: torch.Tensor,
        nearest: torch.Tensor,
        scale: torch.Tensor | None = None,
    ) -> None:
        self._features, self._norms, self._scale = features, squared_norms(features), scale
        self._found = FoundPairs(neighbors, nearest)

    def __call__(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        distances, missing = self._found.look_up(rows, columns)
        for part in row_slices(len(missing), self._features.shape[1]):
            row, column = rows[missing[part]], columns[missing[part]]
            products = (self._features[row] * self._features[column]).sum(dim=1)
            distances[missing[part]] = self._norms[row] + self._norms[column] - 2 * products
        return distances if self._scale is None else distances / self._scale[rows]


class _DistanceMatrices:
    """Squared distances of pairs, divided by the largest of the first image, looked up in three matrices.

    Image ``i`` is column ``i`` of ``[[query_query, query_gallery], [query_gallery.T, gallery_gallery]]``, as in the
    authors' code; that joint matrix is never built.
    """

    def __init__(self, query_gallery: torch.Tensor, query_query: torch.Tensor, gallery_gallery: torch.Tensor) -> None:
        self._of_queries = (query_query.T, query_gallery)
        self._of_gallery = (query_gallery.T, gallery_gallery.T)
        self._num_query = len(query_gallery)
        largest = [torch.maximum(left.amax(dim=1), right.amax(dim=1)) for left, right in self._halves()]
        self.scale = torch.cat(largest).square_().clamp_(min=torch.finfo(torch.float32).tiny)

    def _halves(self) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        return self._of_queries, self._of_gallery

    def nearest_neighbors(self, k: int) -> torch.Tensor:
        """Indices ``[N, k]`` of the nearest images, nearest first."""
        parts = []
        for left, right in self._halves():
            for rows in row_slices(len(left), left.shape[1] + right.shape[1]):
                parts.append(torch.cat((left[rows], right[rows]), dim=1).topk(k, dim=1, largest=False).indices)
        return torch.cat(parts)

    def __call__(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        distances = self.scale.new_empty(len(rows))
        for of_query, halves in zip((True, False), self._halves(), strict=True):
            for to_query, matrix in zip((True, False), halves, strict=True):
                chosen = ((rows < self._num_query) == of_query) & ((columns < self._num_query) == to_query)
                row = rows[chosen] - (0 if of_query else self._num_query)
                column = columns[chosen] - (0 if to_query else self._num_query)
                distances[chosen] = matrix[row, column]
        return distances.square_().div_(self.scale[rows])
