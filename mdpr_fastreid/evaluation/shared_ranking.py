"""Ranking shared by the processes of a run: outputs stay where they were computed, only queries go around."""

from typing import NamedTuple

import numpy as np
import torch
from fastreid.utils import comm

from mdpr_fastreid.evaluation.distance import distance_blocks, query_blocks
from mdpr_fastreid.evaluation.exchange import exchange
from mdpr_fastreid.evaluation.features import as_features
from mdpr_fastreid.evaluation.outputs import Outputs, count, rows
from mdpr_fastreid.evaluation.ranking import BlockRanker


class Part(NamedTuple):
    """The test images of all processes, and the part that this one has computed the outputs of."""

    query: Outputs
    """Of the own queries."""
    gallery: Outputs
    """Of the own gallery images."""
    columns: slice
    """Which images of the whole gallery these are."""
    most: int
    """Gallery images of the process that has most of them."""
    labels: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    """Of all images: identities of the queries and of the gallery, cameras of the queries and of the gallery."""


def own_part(outputs: Outputs | None, identities: np.ndarray, cameras: np.ndarray, num_query: int) -> Part | None:
    """What this process has of the test images, the first ``num_query`` of which are queries; all processes call it.

    Args:
        outputs: of the own images, which follow on those of the processes before; None if there are none.
        identities: ``[own]``.
        cameras: ``[own]``.
        num_query: queries of all processes.

    Returns:
        None, in all processes, where one has no images, or where there is no query or no gallery image.
    """
    labels = exchange((identities, cameras))
    counts = [len(of_process) for of_process, _ in labels]
    if 0 in counts or not 0 < num_query < sum(counts):
        return None
    all_identities, all_cameras = (np.concatenate(parts) for parts in zip(*labels, strict=True))
    # Where the gallery images of each process begin and end
    ends = np.maximum(np.cumsum(counts) - num_query, 0)
    begins = np.concatenate(([0], ends[:-1]))
    columns = slice(int(begins[comm.get_rank()]), int(ends[comm.get_rank()]))
    own_queries = count(outputs) - (columns.stop - columns.start)
    q = num_query
    return Part(
        rows(outputs, slice(own_queries)),
        rows(outputs, slice(own_queries, None)),
        columns,
        int((ends - begins).max()),
        (all_identities[:q], all_identities[q:], all_cameras[:q], all_cameras[q:]),
    )


def rank_part(
    part: Part,
    metric: str,
    query: torch.Tensor,
    gallery: torch.Tensor,
    max_rank: int,
    average_precisions: tuple[str, ...],
) -> BlockRanker | None:
    """Rank the gallery of all processes by a metric; all processes call it, and have the same rankings then.

    Args:
        part: whose labels and columns count.
        metric: of :data:`mdpr_fastreid.evaluation.distance.BLOCK_METRICS`.
        query: features of the own queries.
        gallery: features of the own gallery images.
        max_rank: length of the CMC.
        average_precisions: the rules.

    Returns:
        None, in all processes, where features of one cannot be ranked.
    """
    # As an array: of a tensor, all would be sent that it is a part of
    queries = exchange(query.numpy() if _are_usable(metric, query) and _are_usable(metric, gallery) else None)
    if any(of_process is None or of_process.shape[1:] != query.shape[1:] for of_process in queries):
        return None
    query = torch.from_numpy(np.concatenate(queries))
    ranker = BlockRanker(*part.labels, max_rank, average_precisions, part.columns, exchange)
    if len(gallery):
        for block, distances in distance_blocks(metric, query, gallery, part.most):
            ranker.add(block, distances.numpy())
    else:  # nothing to compute, but what the others ask is answered
        for block in query_blocks(len(query), part.most):
            ranker.add(block, np.empty((block.stop - block.start, 0), dtype=np.float32))
    return ranker


def _are_usable(metric: str, features: torch.Tensor) -> bool:
    if not len(features):
        return True
    try:
        as_features(features, "", directed=metric == "cosine")
    except ValueError:
        return False
    return True
