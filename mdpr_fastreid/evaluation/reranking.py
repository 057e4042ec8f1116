"""Re-ranking with k-reciprocal encoding (Zhong et al., CVPR 2017, arXiv 1701.08398) on any device, sparse."""

import torch

from mdpr_fastreid.evaluation.features import Features, as_features, given_back, joined, row_slices, squared_norms
from mdpr_fastreid.evaluation.k_reciprocal import encode, jaccard_distances
from mdpr_fastreid.evaluation.neighbors import nearest_neighbors

# Feature values gathered at once for the distances of pairs: 16 MiB of float32
_GATHERED_ELEMENTS = 2**22


def k_reciprocal_jaccard(query: Features, gallery: Features | None = None, k1: int = 20, k2: int = 6) -> Features:
    """Jaccard distances between the k-reciprocal neighbourhoods of images.

    TODO
    """
    _check_neighborhood(k1, k2)
    if gallery is None:
        features = as_features(query, "query", directed=True)
        num_query, first_gallery = len(features), 0
    else:
        features = joined(query, gallery)
        num_query = first_gallery = len(query)
    neighbors, nearest = nearest_neighbors(features, min(k1, len(features)))
    padding = k1 - neighbors.shape[1]
    distances = _FeatureDistances(features, neighbors, nearest)
    if padding > 0:
        neighbors = torch.nn.functional.pad(neighbors, (0, padding), value=len(features) - 1)
    encoding = encode(neighbors, k1, k2, distances, last_counts_twice=padding > 0)
    return given_back(jaccard_distances(encoding, num_query, first_gallery), query)


def _check_neighborhood(k1: int, k2: int) -> None:
    for name, value in (("k1", k1), ("k2", k2)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")


class _FeatureDistances:
    """Squared euclidean distances of pairs: from the search where it found them, else from the features."""

    def __init__(self, features: torch.Tensor, neighbors: torch.Tensor, nearest: torch.Tensor) -> None:
        self._features, self._norms = features, squared_norms(features)
        images = torch.arange(len(features), device=features.device)[:, None] * len(features)
        self._known, order = (images + neighbors).sort(dim=1)
        self._nearest = nearest.gather(1, order)

    def __call__(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        low, high = int(rows.min()), int(rows.max()) + 1
        known, nearest = self._known[low:high].flatten(), self._nearest[low:high].flatten()
        key = rows * len(self._features) + columns
        at = torch.searchsorted(known, key).clamp_(max=len(known) - 1)
        distances = nearest[at]
        missing = (known[at] != key).nonzero().flatten()
        for part in row_slices(len(missing), self._features.shape[1], _GATHERED_ELEMENTS):
            row, column = rows[missing[part]], columns[missing[part]]
            products = (self._features[row] * self._features[column]).sum(dim=1)
            distances[missing[part]] = self._norms[row] + self._norms[column] - 2 * products
        return distances
