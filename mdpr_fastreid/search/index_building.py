"""Building an approximate index with FAISS, and how much of the exact answer it finds."""

from collections.abc import Callable
from typing import NamedTuple

import faiss
import numpy as np

from mdpr_fastreid.progress import Progress, with_progress
from mdpr_fastreid.search.exact import nearest
from mdpr_fastreid.search.kinds import LINKS, Plan
from mdpr_fastreid.search.vector_file import VectorFile

_EFFORTS = {"hnsw": (16, 32, 64, 128, 192, 256, 384, 512, 768, 1024), "ivfpq": (1, 2, 4, 8, 16, 32, 64, 128, 256)}
_CONSTRUCTION_EFFORT = 64
_ENOUGH_RECALL = 0.96
_QUERIES, _TOP = 200, 10


class Effort(NamedTuple):
    """How hard a search tries, and what it finds with that."""

    effort: int
    recall: dict[str, float]


def build_index(plan: Plan, vectors: VectorFile) -> faiss.IndexPreTransform:
    """An index over all vectors, which are read in blocks.

    PCA, trained on a sample, reduces them, and they are scaled to unit length again: otherwise the shortest are near to
    all, and hide the others from a graph. The similarities that it gives are therefore those of candidates only.

    Args:
        plan: of kind ``hnsw`` or ``ivfpq``.
        vectors: ``[N, D]``.
    """
    # np: not "polysemous", which takes seconds a piece to train for a search that is not used here
    inner = f"HNSW{LINKS}_SQ8" if plan.kind == "hnsw" else f"IVF{plan.cells},PQ{plan.pieces}np"
    index = faiss.index_factory(plan.dim, f"PCA{plan.reduced},L2norm,{inner}", faiss.METRIC_INNER_PRODUCT)
    within = faiss.downcast_index(index.index)
    pca, to_unit_length = (faiss.downcast_VectorTransform(index.chain.at(number)) for number in range(2))
    pca.train(vectors.read(_drawn(plan, plan.pca_sample)))
    if plan.kind == "hnsw":
        within.hnsw.efConstruction = _CONSTRUCTION_EFFORT
        _make_room(within, plan)
    sample = vectors.blocks(_drawn(plan, plan.sample))
    within.train(np.concatenate([to_unit_length.apply(pca.apply(block)) for _, block in sample]))
    index.is_trained = True
    for _, block in with_progress(vectors.blocks(), Progress(vectors.block_count(), f"building the {plan.kind} index")):
        index.add(block)
    return index


def _drawn(plan: Plan, count: int) -> np.ndarray:
    """Rows of a sample, ascending."""
    return np.sort(np.random.default_rng(0).choice(plan.rows, count, replace=False))


def tune(plan: Plan, search: Callable[[np.ndarray, int, int], np.ndarray], vectors: VectorFile) -> Effort:
    """The least effort with which a search finds 96 % of the nearest ten, and its recall at one and at ten.

    Vectors of a sample are searched among all others.

    Args:
        plan: of the index.
        search: (queries ``[Q, D]``, top, effort) to rows ``[Q, top]``, -1 for none.
        vectors: ``[N, D]``.
    """
    chosen = _drawn(plan, min(_QUERIES, plan.rows))
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
        (faiss.downcast_index(index.storage).codes, plan.rows * plan.reduced),
        (index.hnsw.neighbors, links),
    ):
        array.resize(size)
        array.resize(0)
