"""Kinds of index: which one suits how many vectors, and what it needs."""

import math
from dataclasses import dataclass
from pathlib import Path

from mdpr_fastreid.errors import UsageError

EXACT_BYTES = 2**30
"""Vectors up to that size are compared one by one: a tenth of a second a query on two cores."""

LINKS = 32
"""Links of a vector in an HNSW graph; twice as many on its lowest level."""

LARGEST_SAMPLE_BYTES = 2**30
"""Vectors that cells and codebooks are trained on."""

_SAMPLE_OF_A_CELL = 32
_MOST_CELLS = 2**14
_BYTES_OF_A_ROW = 300  # names and columns, and while they are written the same again as Python's strings
_WORKING_BYTES = 2**28

KINDS = ("exact", "hnsw", "ivfpq")


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
    def cells(self) -> int:
        """Cells of an IVF index: about four times the root of the vectors, fewer where they cannot be trained."""
        wanted = 4 * math.sqrt(self.rows)
        trained = min(self.rows, LARGEST_SAMPLE_BYTES // (4 * self.dim)) / _SAMPLE_OF_A_CELL
        return max(1, min(_MOST_CELLS, 2 ** round(math.log2(max(wanted, 1))), int(trained)))

    @property
    def sample(self) -> int:
        """Vectors that the index is trained on."""
        return max(1, min(self.rows, 2 * _SAMPLE_OF_A_CELL * self.cells, LARGEST_SAMPLE_BYTES // (4 * self.dim)))

    @property
    def padded(self) -> int:
        """Numbers of a vector that is filled up with zeros to be cut into pieces of sixteen."""
        return -(-self.dim // 16) * 16

    def index_bytes(self) -> int:
        """What the index keeps in memory for searches."""
        if self.kind == "exact":
            return 4 * self.dim * self.rows
        if self.kind == "hnsw":
            links = 4 * (2 * LINKS + LINKS / (LINKS - 1))
            return round(self.rows * (self.dim + links + 12))
        return self.rows * (self.padded // 16 + 8) + 4 * self.padded * self.cells + 4 * 256 * self.padded

    def memory(self) -> int:
        """Bytes that a search process has for this segment."""
        return self.index_bytes() + self.rows * _BYTES_OF_A_ROW // 3

    def build_memory(self) -> int:
        """Bytes that building takes, the index included."""
        training = 3 * 4 * self.dim * self.sample if self.kind == "ivfpq" else 0
        index = 0 if self.kind == "exact" else self.index_bytes()
        return max(training, index) + self.rows * _BYTES_OF_A_ROW + _WORKING_BYTES

    def __str__(self) -> str:
        vectors = f"{self.rows:,} vectors of {self.dim} numbers"
        if self.kind == "exact":
            return f"exact search of {vectors}: each query is compared with all, {gib(self.index_bytes())}"
        what = {
            "hnsw": f"HNSW graph, {LINKS} links, vectors in 8 bits",
            "ivfpq": f"IVF-PQ, {self.cells:,} cells, {self.padded // 16} bytes a vector",
        }[self.kind]
        return (
            f"approximate search of {vectors} ({what}): searching takes {gib(self.memory())} of memory, building "
            f"{gib(self.build_memory())}"
        )


def choose(rows: int, dim: int, kind: str = "auto", memory: int | None = None) -> Plan:
    """The kind of index for so many vectors.

    Exact up to :data:`EXACT_BYTES`; beyond that HNSW, which finds more in less time, where it fits into memory, else
    IVF-PQ, which takes a tenth of it.

    Args:
        rows: vectors.
        dim: numbers in each.
        kind: another than chosen: ``exact``, ``hnsw`` or ``ivfpq``.
        memory: bytes that a search may take; half of what is free by default.

    Raises:
        UsageError: there is no such kind, or not even IVF-PQ fits.
    """
    if kind not in ("auto", *KINDS):
        raise UsageError(f"there is no kind of index {kind!r}: give auto, {', '.join(KINDS)}")
    if kind != "auto":
        return Plan(kind, rows, dim)
    if 4 * dim * rows <= EXACT_BYTES:
        return Plan("exact", rows, dim)
    memory = free_memory() // 2 if memory is None else memory
    for plan in (Plan("hnsw", rows, dim), Plan("ivfpq", rows, dim)):
        if plan.memory() <= memory:
            return plan
    raise UsageError(
        f"{rows:,} vectors of {dim} numbers need {gib(plan.memory())} even as IVF-PQ, and {gib(memory)} may be used: "
        "give more memory, or use a Milvus server (http://host:19530)"
    )


def is_exact_fast(rows: int, dim: int) -> bool:
    """Whether so many vectors are compared one by one rather than searched in an index."""
    return 4 * dim * rows <= EXACT_BYTES


def free_memory() -> int:
    """Bytes of memory that a new process can have; 4 GiB where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 2**10
    except OSError:
        pass
    return 4 * 2**30


def gib(size: float) -> str:
    """Bytes for a reader."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.1f} MiB"
