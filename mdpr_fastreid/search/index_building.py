"""Building an approximate index with FAISS, and how much of the exact answer it finds."""

from collections.abc import Callable
from typing import NamedTuple

import faiss
import numpy as np

from mdpr_fastreid.progress import Progress, with_progress
from mdpr_fastreid.search.exact import nearest
from mdpr_fastreid.search.kinds import LINKS, Plan
from mdpr_fastreid.search.vector_file import VectorFile

_EFFORTS = {"hnsw": (16, 32, 64, 128, 256, 512, 1024), "ivfpq": (1, 2, 4, 8, 16, 32, 64, 128, 256)}
_CONSTRUCTION_EFFORT = 64
_ENOUGH_RECALL = 0.98
_QUERIES, _TOP = 200, 10


class Effort(NamedTuple):
    """How hard a search tries, and what it finds with that."""

    effort: int
    recall: dict[str, float]


def build_index(plan: Plan, vectors: VectorFile) -> faiss.Index:
    """An index over all vectors, which are read in blocks.

    Args:
        plan: of kind ``hnsw`` or ``ivfpq``.
        vectors: ``[N, D]``.
    """
    rows = np.sort(np.random.default_rng(0).choice(plan.rows, plan.sample, replace=False))
    if plan.kind == "hnsw":
        index = faiss.IndexHNSWSQ(plan.dim, faiss.ScalarQuantizer.QT_8bit, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _CONSTRUCTION_EFFORT
        _make_room(index, plan)
    else:
        cells, pieces = plan.cells, plan.padded // 16
        index = faiss.index_factory(plan.dim, f"Pad{plan.padded},IVF{cells},PQ{pieces}", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors.read(rows))
    for _, block in with_progress(vectors.blocks(), Progress(vectors.block_count(), f"building the {plan.kind} index")):
        index.add(block)
    return index


def tune(plan: Plan, search: Callable[[np.ndarray, int, int], np.ndarray], vectors: VectorFile) -> Effort:
    """The least effort with which a search finds 98 % of the nearest ten, and its recall at one and at ten.

    Vectors of a sample are searched among all others.

    Args:
        plan: of the index.
        search: (queries ``[Q, D]``, top, effort) to rows ``[Q, top]``, -1 for none.
        vectors: ``[N, D]``.
    """
    chosen = np.sort(np.random.default_rng(1).choice(plan.rows, min(_QUERIES, plan.rows), replace=False))
    queries = vectors.read(chosen)
    blocks = with_progress(vectors.blocks(), Progress(vectors.block_count(), "exact search of a sample", delay=5))
    exact = _without_itself(nearest(queries, blocks, _TOP + 1)[1], chosen)
    for effort in _EFFORTS[plan.kind]:
        found = _without_itself(search(queries, _TOP + 1, effort), chosen)
        recall = {"1": recall_at(exact, found, 1), "10": recall_at(exact, found, _TOP)}
        if recall["10"] >= _ENOUGH_RECALL:
            break
    return Effort(effort, recall)


def recall_at(exact: np.ndarray, found: np.ndarray, top: int) -> float:
    """Share of the ``top`` nearest that were found among as many: of ``[Q, K]`` rows of each."""
    pairs = zip(exact[:, :top].tolist(), found[:, :top].tolist(), strict=True)
    return float(np.mean([len(set(one) & set(other)) / max(1, len(one)) for one, other in pairs]))


def _without_itself(rows: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Each line without the row that was its query, or without its last."""
    is_own = rows == own[:, None]
    is_own[~is_own.any(axis=1), -1] = True
    return rows[~is_own].reshape(len(rows), -1)


def _make_room(index: faiss.IndexHNSWSQ, plan: Plan) -> None:
    """Let arrays have their final size at once: when an array that is full is copied, it takes twice the memory."""
    links = round(1.02 * plan.rows * (2 * LINKS + LINKS / (LINKS - 1)))
    for array, size in (
        (faiss.downcast_index(index.storage).codes, plan.rows * plan.dim),
        (index.hnsw.neighbors, links),
    ):
        array.resize(size)
        array.resize(0)
