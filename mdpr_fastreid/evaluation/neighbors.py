"""Exact nearest neighbours of every image among all images, in blocks."""

import itertools
from collections.abc import Callable

import faiss
import torch

from mdpr_fastreid.evaluation.distance import squared_distance_blocks
from mdpr_fastreid.evaluation.features import blocks_with_progress

Search = Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]
"""Finds the ``k`` nearest images of each, as :func:`nearest_neighbors` does."""

# Distances computed at once: 256 MiB of float32
_BLOCK_ELEMENTS = 2**26

# Queries that FAISS itself handles at once on a CPU, and the number below which it takes another way
_FAISS_BLOCK, _FAISS_FEW = 4096, 20
_FAISS_GPU_LARGEST_K = 2048


def nearest_neighbors(features: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``k`` nearest of all images, itself included, for every image, by euclidean distance.

    On a CPU it is FAISS's exact search, which is what stock FastReID compares with. On a GPU it is FAISS's where a
    FAISS with GPU support is installed, else torch's.

    Args:
        features: ``[N, D]`` float32.
        k: at most ``N``.

    Returns:
        Indices ``[N, k]`` int64, nearest first, and their squared distances ``[N, k]`` float32.
    """
    if features.device.type == "cpu":
        return _search_faiss(features, k)
    if features.is_cuda and hasattr(faiss, "StandardGpuResources") and k <= _FAISS_GPU_LARGEST_K:
        return _search_faiss_gpu(features, k)
    return search_blocks(features, k)[:2]


def faiss_blocks(count: int) -> list[slice]:
    """The queries that :func:`search_block` is to have at a time."""
    # FAISS rounds otherwise where it gets few queries at a time, so no block may be a small rest
    starts = range(0, max(count - _FAISS_FEW, 1), _FAISS_BLOCK)
    return [slice(start, stop) for start, stop in itertools.pairwise((*starts, count))]


def search_block(features: torch.Tensor, k: int, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """As :func:`nearest_neighbors` of features on a CPU, for some of the images."""
    array = features.numpy()
    distances, indices = faiss.knn(array[rows], array, k)
    return torch.from_numpy(indices), torch.from_numpy(distances)


def _search_faiss(features: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    indices = torch.empty(len(features), k, dtype=torch.int64)
    distances = torch.empty(len(features), k)
    for rows in blocks_with_progress(faiss_blocks(len(features)), "nearest neighbors"):
        indices[rows], distances[rows] = search_block(features, k, rows)
    return indices, distances


def _search_faiss_gpu(features: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    from faiss.contrib import torch_utils  # noqa: F401  (makes FAISS take tensors)

    resources = faiss.StandardGpuResources()
    distances, indices = faiss.knn_gpu(resources, features, features, k, device=features.device.index)
    return indices, distances


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
