"""A segment of a FAISS store: vectors, what is known of their images, and an index. Its files never change.

===============  ======================================================================
``vectors.f32``  ``[N, D]`` float32 of unit length, nothing else
``columns.npz``  names, cameras, times, identities
``index-*``      the approximate index; an exact segment has none
``deleted-*``    rows that are deleted: each deletion writes another file
===============  ======================================================================
"""

import copy
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import write_whole
from mdpr_fastreid.search.columns import Columns, Gathered
from mdpr_fastreid.search.conditions import Condition
from mdpr_fastreid.search.exact import best_of, nearest
from mdpr_fastreid.search.index_building import Effort, build_index, tune
from mdpr_fastreid.search.kinds import Plan, is_exact_fast
from mdpr_fastreid.search.manifest import FileRecord, SegmentRecord
from mdpr_fastreid.search.store import Hit
from mdpr_fastreid.search.vector_file import VectorFile

PREFIX = "segment-"
_VECTORS, _COLUMNS, _INDEX = "vectors.f32", "columns.npz", "index-"
# Candidates whose exact similarity is computed, for each hit asked for and besides
_PER_HIT, _BESIDES = 4, 60
# What a filter leaves is compared one by one up to that size: an index finds less of it, the less is left
_FEW_BYTES = 2**28
# An index is slower than comparing with all where more than one in that many is a candidate
_CANDIDATES_OF_AN_INDEX = 50


_ROWS_OF_A_PART = 4096


# Where a filter leaves more than that, what it does not leave is computed and dropped
_SHARE_TO_SKIP = 0.2


class Part(NamedTuple):
    """Some images on their way into a segment."""

    vectors: np.ndarray
    """``[n, D]`` float32 of unit length."""
    names: list[str]
    cameras: list[str]
    identities: list[str]
    times: np.ndarray
    roots: list[str]


class Found(NamedTuple):
    """Rows that a search found in a segment, most similar first; ``[Q, K]`` of both."""

    scores: np.ndarray
    rows: np.ndarray
    """-1 where there are no more."""


def write_segment(store: Path, parts: Iterable[Part]) -> tuple[SegmentRecord, Columns]:
    """Write images as a new exact segment, which belongs to the store once its manifest has it.

    Args:
        store: the folder of the store.
        parts: in the order of the rows.

    Raises:
        UsageError: they cannot be written; nothing is left of them.
    """
    folder = store / f"{PREFIX}{uuid.uuid4().hex}"
    gathered = Gathered()

    def write_vectors(file) -> None:
        for part in parts:
            file.write(memoryview(np.ascontiguousarray(part.vectors)).cast("B"))
            gathered.add(*part[1:])

    try:
        write_whole(folder / _VECTORS, write_vectors)
        columns = gathered.columns()
        write_whole(folder / _COLUMNS, columns.write)
        files = tuple(FileRecord.of(folder / name) for name in (_VECTORS, _COLUMNS))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return SegmentRecord(folder.name, len(columns), "exact", files), columns


def write_index(store: Path, record: SegmentRecord, plan: Plan) -> SegmentRecord:
    """Build the index of a segment of which nothing is deleted.

    Args:
        store: the folder of the store.
        record: of the segment; an index that it has goes with the record.
        plan: of the index.

    Returns:
        The record of the segment with its index, which belongs to the store once its manifest has it.

    Raises:
        UsageError: it cannot be written.
    """
    files = tuple(file for file in record.files if not file.name.startswith(_INDEX))
    if plan.kind == "exact":
        return SegmentRecord(record.folder, record.rows, plan.kind, files)
    folder = store / record.folder
    vectors = VectorFile(folder / _VECTORS, plan.rows, plan.dim)
    index = build_index(plan, vectors)

    def search(queries: np.ndarray, top: int, effort: int) -> np.ndarray:
        return _search_index(index, plan.kind, vectors, queries, top, effort).rows

    tuned: Effort = tune(plan, search, vectors)
    vectors.close()
    path = folder / f"{_INDEX}{uuid.uuid4().hex}"
    write_whole(path, lambda file: _write_faiss(index, file))
    files = (*files, FileRecord.of(path))
    return SegmentRecord(record.folder, record.rows, plan.kind, files, effort=tuned.effort, recall=tuned.recall)


def write_deleted(store: Path, record: SegmentRecord, rows: np.ndarray) -> SegmentRecord:
    """The record of a segment in which these rows, and no others, are deleted.

    Args:
        store: the folder of the store.
        record: of the segment.
        rows: ascending.
    """
    path = store / record.folder / f"deleted-{uuid.uuid4().hex}"
    write_whole(path, np.asarray(rows, dtype=np.int64).tobytes())
    return SegmentRecord(
        **{**record.__dict__, "deleted": FileRecord.of(path), "deleted_rows": len(rows)},
    )


class Segment:
    """A segment that can be searched.

    Args:
        store: the folder of the store.
        record: of the segment.
        dim: numbers in a vector.
        whole: compare the vectors with their hash, however many they are.

    Raises:
        FileNotFoundError: a file of it is gone, as another process has put another segment in its place.
        UsageError: it is damaged.
    """

    def __init__(self, store: Path, record: SegmentRecord, dim: int, whole: bool = False) -> None:
        self.record, self._folder = record, store / record.folder
        files = {file.name: file for file in record.files}
        if files[_VECTORS].size != 4 * dim * record.rows:
            raise UsageError(f"{self._folder} is damaged: it has not {record.rows:,} vectors; build the store again")
        path = files[_VECTORS].check(self._folder, whole or is_exact_fast(record.rows, dim))
        columns = files[_COLUMNS].check(self._folder)
        try:
            with columns.open("rb") as file:
                self.columns = Columns.read(file)
        except ValueError as error:
            raise UsageError(f"{columns} is damaged: {error}; build the store again") from error
        index = next((file for name, file in files.items() if name.startswith(_INDEX)), None)
        self._index = _read_faiss(index.check(self._folder)) if index else None
        self.deleted = self._read_deleted()
        self.vectors = VectorFile(path, record.rows, dim)

    def renewed(self, record: SegmentRecord) -> "Segment":
        """The segment after a change: what did not change is not read again."""
        if record == self.record:
            return self
        if record.files != self.record.files:
            return Segment(self._folder.parent, record, self.vectors.dim)
        new = copy.copy(self)
        new.record = record
        new.deleted = new._read_deleted()
        return new

    def _read_deleted(self) -> np.ndarray:
        deleted = np.zeros(self.record.rows, dtype=bool)
        if self.record.deleted:
            deleted[np.fromfile(self.record.deleted.check(self._folder), dtype=np.int64)] = True
        return deleted

    def count(self) -> int:
        """Images that are not deleted."""
        return self.record.rows - self.record.deleted_rows

    def find(self, names: list[str]) -> np.ndarray:
        """The row of each name, ``[n]``; -1 for one that is not here, or deleted."""
        rows = self.columns.find(names)
        rows[(rows >= 0) & self.deleted[rows]] = -1
        return rows

    def search(self, queries: np.ndarray, top: int, condition: Condition) -> Found:
        """The rows that are most similar to each query, among those that fulfil a condition.

        Args:
            queries: ``[Q, D]`` of unit length.
            top: 1 or more.
            condition: the same for all.
        """
        allowed, left = self._allowed(condition)
        if self._index is not None and self._index_is_faster(top, left):
            kind, effort = self.record.kind, self.record.effort * -(-self.record.rows // left)
            found = _search_index(self._index, kind, self.vectors, queries, top, effort, allowed)
            if (found.rows[:, min(top, left) - 1] >= 0).all():
                return found
        if self._index is None and left > _SHARE_TO_SKIP * self.record.rows:  # no copies of mapped vectors
            return Found(*nearest(queries, self.vectors.blocks(mapped=True), top, allowed))
        rows = None if allowed is None else np.flatnonzero(allowed)
        return Found(*nearest(queries, self.vectors.blocks(rows), top))

    def _allowed(self, condition: Condition) -> tuple[np.ndarray | None, int]:
        """The rows that may be found, ``[N]`` bool, None for all, and how many these are."""
        if not condition.asks():
            return (~self.deleted if self.record.deleted_rows else None), self.count()
        columns = self.columns
        allowed = condition.passes(columns.camera_codes, columns.cameras, columns.times) & ~self.deleted
        return allowed, int(allowed.sum())

    def hit(self, row: int, score: float) -> Hit:
        """What a search says of a row."""
        columns = self.columns
        name, root = columns.names[row], columns.roots[columns.root_codes[row]]
        return Hit(
            name,
            score,
            columns.cameras[columns.camera_codes[row]],
            float(columns.times[row]),
            columns.identities[columns.identity_codes[row]],
            os.path.join(root, name),
        )

    def cameras(self) -> set[str]:
        """Cameras of the images that are not deleted."""
        return {self.columns.cameras[code] for code in np.unique(self.columns.camera_codes[~self.deleted])}

    def parts(self, deleted: np.ndarray | None = None) -> Iterator[Part]:
        """All images that are not deleted, some at a time.

        Args:
            deleted: ``[N]``, which ones are; those of the segment by default.
        """
        columns = self.columns
        rows = np.flatnonzero(~(self.deleted if deleted is None else deleted))
        for start in range(0, len(rows), _ROWS_OF_A_PART):
            some = rows[start : start + _ROWS_OF_A_PART]
            yield Part(
                self.vectors.read(some),
                [columns.names[int(row)] for row in some],
                [columns.cameras[code] for code in columns.camera_codes[some]],
                [columns.identities[code] for code in columns.identity_codes[some]],
                columns.times[some],
                [columns.roots[code] for code in columns.root_codes[some]],
            )

    def close(self) -> None:
        """Free the index and close the files."""
        self._index = None
        self.vectors.close()

    def _index_is_faster(self, top: int, left: int) -> bool:
        """Whether to ask the index, and not to compare with all of the rows that are left."""
        few_candidates = (_PER_HIT * top + _BESIDES) * _CANDIDATES_OF_AN_INDEX <= left
        return few_candidates and (left == self.count() or 4 * self.vectors.dim * left > _FEW_BYTES)


def _search_index(
    index: faiss.Index,
    kind: str,
    vectors: VectorFile,
    queries: np.ndarray,
    top: int,
    effort: int,
    among: np.ndarray | None = None,
) -> Found:
    """Candidates of an index, ordered by their exact similarity."""
    wanted = min(_PER_HIT * top + _BESIDES, vectors.rows)
    selector = None if among is None else faiss.IDSelectorBitmap(np.packbits(among, bitorder="little"))
    if kind == "hnsw":
        within = faiss.SearchParametersHNSW(efSearch=max(effort, wanted), sel=selector)
    else:
        within = faiss.SearchParametersIVF(nprobe=effort, sel=selector)
    settings = faiss.SearchParametersPreTransform(index_params=within)
    _, candidates = index.search(queries, wanted, params=settings)
    scores = np.full(candidates.shape, -np.inf, dtype=np.float32)
    for query, rows, line in zip(queries, candidates, scores, strict=True):
        found = rows >= 0
        line[found] = vectors.read(rows[found]) @ query
    return Found(*best_of(scores, candidates, top))


def _write_faiss(index: faiss.Index, file) -> None:
    # Without a buffer of FAISS's, whose last flush would lose an error of the disk's
    faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def _read_faiss(path: Path) -> faiss.Index:
    try:
        with path.open("rb") as file:
            return faiss.read_index(faiss.PyCallbackIOReader(file.read))
    except RuntimeError as error:
        raise UsageError(f"{path} cannot be read by this FAISS {faiss.__version__}: build the store again") from error
