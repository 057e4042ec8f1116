"""The search for nearest neighbours, which re-ranking takes longest for, shared by the processes of a run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fastreid.utils import comm

from mdpr_fastreid.evaluation.exchange import exchange, processor_group
from mdpr_fastreid.evaluation.features import blocks_with_progress
from mdpr_fastreid.evaluation.neighbors import Search, faiss_blocks, nearest_neighbors, search_block


@contextmanager
def shared_search() -> Iterator[Search]:
    """On the main process: a search with the help of the others, which are in :func:`help_search` meanwhile.

    It finds what :func:`nearest_neighbors` finds. That itself is it where there is one process, and for features on a
    GPU, which takes less time for it than to tell the others.
    """
    if comm.get_world_size() == 1:
        yield nearest_neighbors
        return
    try:
        yield _search
    finally:
        exchange(None)


def help_search() -> None:
    """On the other processes: search along, until the main one has found all it wants."""
    while (wanted := exchange(None)[0]) is not None:
        shape, k = wanted
        _search_together(torch.empty(shape), k)


def _search(features: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    if features.device.type != "cpu":
        return nearest_neighbors(features, k)
    exchange((features.shape, k))
    return _search_together(features, k)


def _search_together(features: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every process gets the features of the main one, and searches for some of the images."""
    torch.distributed.broadcast(features, 0, group=processor_group())
    blocks = faiss_blocks(len(features))
    own = blocks[comm.get_rank() :: comm.get_world_size()]
    found = comm.gather([search_block(features, k, rows) for rows in blocks_with_progress(own, "nearest neighbors")])
    indices, distances = torch.empty(len(features), k, dtype=torch.int64), torch.empty(len(features), k)
    for rank, of_process in enumerate(found):
        for rows, (index, distance) in zip(blocks[rank :: comm.get_world_size()], of_process, strict=True):
            indices[rows], distances[rows] = index, distance
    return indices, distances
