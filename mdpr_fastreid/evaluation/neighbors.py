"""Exact nearest neighbours of every image among all images, in blocks."""

import torch

from mdpr_fastreid.evaluation.distance import squared_distance_blocks

# Distances computed at once: 256 MiB of float32
_BLOCK_ELEMENTS = 2**26


def nearest_neighbors(features: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``k`` nearest of all images, itself included, for every image, by euclidean distance.

    On a CPU it is FAISS's exact search, which is what stock FastReID compares with; elsewhere it is torch.

    Args:
        features: ``[N, D]`` float32.
        k: at most ``N``.

    Returns:
        Indices ``[N, k]`` int64, nearest first, and their squared distances ``[N, k]`` float32.
    """
    if features.device.type == "cpu":
        return _search_faiss(features, k)
    return search_blocks(features, k)[:2]


def _search_faiss(features: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    import faiss

    array = features.numpy()
    distances, indices = faiss.knn(array, array, k)
    return torch.from_numpy(indices), torch.from_numpy(distances)


def search_blocks(features: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As :func:`nearest_neighbors`, by products and selection in torch, with the farthest distance as well.

    Args:
        features: ``[N, D]`` float32.
        k: at most ``N``.

    Returns:
        Indices ``[N, k]`` int64, nearest first, their squared distances ``[N, k]``, and the largest squared
        distance of each image to any ``[N]``.
    """
    count = len(features)
    indices = torch.empty(count, k, dtype=torch.int64, device=features.device)
    nearest = torch.empty(count, k, device=features.device)
    farthest = torch.empty(count, device=features.device)
    for rows, distances in squared_distance_blocks(features, features, _BLOCK_ELEMENTS):
        nearest[rows], indices[rows] = distances.topk(k, dim=1, largest=False)
        farthest[rows] = distances.amax(dim=1)
    return indices, nearest.clamp_(min=0), farthest
