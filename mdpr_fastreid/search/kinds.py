"""Kinds of index: which one suits how many vectors, and what it needs."""

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

from mdpr_fastreid.errors import UsageError

KINDS = ("exact", "hnsw", "ivfpq")

EXACT_BYTES = 2**30
"""Vectors up to that size are compared one by one: a tenth of a second a query on two cores."""

LINKS = 32
"""Links of a vector in an HNSW graph; twice as many on its lowest level."""

_REDUCED = 256
_NUMBERS_OF_A_PIECE = 4
_ROWS_FOR_PCA = 2**14
_SAMPLE_OF_A_CELL, _LARGEST_SAMPLE = 48, 2**19
_MOST_CELLS = 2**14
_FEWEST = 256  # codes of a byte

_BYTES_OF_A_ROW = 110  # of its columns, with a name of fifty letters
_WORKING_BYTES = 2**26


@dataclass(frozen=True)
class Plan:
    """How a segment is indexed.

    Args:
        kind: ``exact``, ``hnsw`` or ``ivfpq``.
        rows: vectors.
        dim: numbers in each.
    """

    kind: str
    rows: int
    dim: int

    @property
    def reduced(self) -> int:
        """Numbers that PCA leaves of a vector in an approximate index, of which the exact ones are on disk."""
        return min(_REDUCED, self.dim // _NUMBERS_OF_A_PIECE * _NUMBERS_OF_A_PIECE)

    @property
    def pieces(self) -> int:
        """Pieces that IVF-PQ cuts a reduced vector into; each is kept in a byte."""
        return self.reduced // _NUMBERS_OF_A_PIECE

    @property
    def cells(self) -> int:
        """Cells of an IVF index: about four times the root of the vectors."""
        wanted = 2 ** round(math.log2(4 * math.sqrt(max(self.rows, 1))))
        return max(1, min(wanted, _MOST_CELLS, self.rows // _SAMPLE_OF_A_CELL))

    @property
    def pca_sample(self) -> int:
        """Vectors that PCA is trained on."""
        return min(self.rows, max(_ROWS_FOR_PCA, 2 * self.dim))

    @property
    def sample(self) -> int:
        """Reduced vectors that the index is trained on."""
        wanted = _SAMPLE_OF_A_CELL * self.cells if self.kind == "ivfpq" else _ROWS_FOR_PCA
        return min(self.rows, max(wanted, _ROWS_FOR_PCA), _LARGEST_SAMPLE)

    def index_bytes(self) -> int:
        """What the index keeps in memory for searches; of exact search the vectors, in the file's own pages."""
        if self.kind == "exact":
            return 4 * self.dim * self.rows
        pca = 4 * self.dim * (self.dim + self.reduced)
        if self.kind == "hnsw":
            links = 4 * (2 * LINKS + LINKS / (LINKS - 1))
            return pca + round(self.rows * (self.reduced + links + 12))
        return pca + self.rows * (self.pieces + 8) + 4 * self.reduced * (self.cells + 256)

    def memory(self) -> int:
        """Bytes that a process which searches has for the segment."""
        return self.index_bytes() + self.rows * _BYTES_OF_A_ROW

    def build_memory(self) -> int:
        """Bytes that building takes, the index included."""
        columns = 2 * self.rows * _BYTES_OF_A_ROW  # while they are sorted
        if self.kind == "exact":
            return columns + _WORKING_BYTES
        pca = 4 * self.dim * self.pca_sample + 3 * 8 * self.dim**2
        training = 2 * 4 * self.reduced * self.sample
        index = self.index_bytes() * (1 if self.kind == "hnsw" else 1.5)  # lists of cells grow as they are filled
        return round(max(columns, self.rows * _BYTES_OF_A_ROW + max(pca, training, index)) + _WORKING_BYTES)

    def __str__(self) -> str:
        vectors = f"{self.rows:,} vectors of {self.dim} numbers"
        if self.kind == "exact":
            return f"exact search of {vectors}: each query is compared with all of them, {gib(self.index_bytes())}"
        what = {
            "hnsw": f"HNSW, {LINKS} links a vector, {self.reduced} numbers by PCA in a byte each",
            "ivfpq": f"IVF-PQ, {self.cells:,} cells, {self.reduced} numbers by PCA in {self.pieces} bytes",
        }[self.kind]
        return (
            f"approximate search of {vectors} ({what}; candidates are compared by their whole vectors): building takes "
            f"{gib(self.build_memory())} of memory, searching {gib(self.memory())}"
        )


def choose(rows: int, dim: int, kind: str = "auto", memory: int | None = None) -> Plan:
    """The kind of index for so many vectors.

    Exact up to :data:`EXACT_BYTES`; beyond that HNSW, which finds more in less time, where it fits into memory, else
    IVF-PQ, which takes a sixth of it.

    Args:
        rows: vectors.
        dim: numbers in each.
        kind: another than chosen: ``exact``, ``hnsw`` or ``ivfpq``.
        memory: bytes that building and searching may take; half of what is free by default.

    Raises:
        UsageError: there is no such kind, or not even IVF-PQ fits.
    """
    if kind not in ("auto", *KINDS):
        raise UsageError(f"there is no kind of index {kind!r}: give auto, {', '.join(KINDS)}")
    exact = Plan("exact", rows, dim)
    if kind == "exact" or (kind == "auto" and is_exact_fast(rows, dim)):
        return exact
    if not exact.reduced or (kind != "auto" and rows < _FEWEST):
        raise UsageError(
            f"{rows:,} vectors of {dim} numbers are no gallery for an approximate index, which needs {_FEWEST} of 4 or "
            "more: give --kind exact"
        )
    if kind != "auto":
        return Plan(kind, rows, dim)
    allowed = free_memory() // 2 if memory is None else memory
    for plan in (Plan("hnsw", rows, dim), Plan("ivfpq", rows, dim)):
        if max(plan.build_memory(), plan.memory()) <= allowed:
            return plan
    raise UsageError(
        f"{rows:,} vectors of {dim} numbers need {gib(plan.build_memory())} to be indexed even by IVF-PQ, of "
        f"{gib(allowed)} that may be used: give --memory, or a Milvus server (http://host:19530) as the store"
    )


def is_exact_fast(rows: int, dim: int) -> bool:
    """Whether so many vectors are compared one by one rather than searched in an index."""
    return 4 * dim * rows <= EXACT_BYTES


def free_memory() -> int:
    """Bytes of memory that a new process can have; 4 GiB where the system does not say."""
    with contextlib.suppress(OSError):  # not Linux
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 2**10
    return 4 * 2**30


def gib(size: float) -> str:
    """Bytes for a reader."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.1f} MiB"
