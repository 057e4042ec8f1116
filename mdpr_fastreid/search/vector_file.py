"""A file of vectors: rows of float32, read where they are needed."""

import itertools
import mmap
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mdpr_fastreid.errors import UsageError

_LONGEST_ERROR = 1e-3
# Bytes of vectors that are there at once
_BLOCK_BYTES, _BLOCK_ROWS = 2**25, 2**14


class VectorFile:
    """``[N, D]`` float32 unit vectors in a file.

    Args:
        path: of the file, which has nothing but the numbers.
        rows: N.
        dim: D.
    """

    def __init__(self, path: Path, rows: int, dim: int) -> None:
        self.rows, self.dim, self._path = rows, dim, path
        self._file = path.open("rb", buffering=0)
        self._lock = threading.Lock()
        self._mapped: np.ndarray | None = None

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Some of them, ``[n, D]``, by their rows ``[n]`` in any order.

        They are read, not mapped: pages of a mapped file would be added to the memory of the process, sixteen for
        each vector.

        Raises:
            UsageError: one of them is no unit vector, so that the file is damaged.
        """
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        # Neighbours in the file are read together
        starts = [0, *(np.flatnonzero(np.diff(ordered) != 1) + 1).tolist(), len(rows)]
        read = np.empty((len(rows), self.dim), dtype=np.float32)
        for start, stop in itertools.pairwise(starts if len(rows) else ()):
            self._read_into(read[start:stop], int(ordered[start]))
        found = np.empty_like(read)
        found[order] = read
        self._need_units(found)
        return found

    def blocks(self, rows: np.ndarray | None = None, mapped: bool = False) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(rows ``[n]``, vectors ``[n, D]``), some at a time.

        Args:
            rows: ascending; None for all.
            mapped: all of them from the file mapped to memory, which is faster time and again.
        """
        step = self._rows_of_a_block()
        for start in range(0, self.rows if rows is None else len(rows), step):
            block = np.arange(start, min(start + step, self.rows)) if rows is None else rows[start : start + step]
            yield block, self._map()[start : start + step] if mapped else self.read(block)

    def block_count(self) -> int:
        """How many :meth:`blocks` all of them are."""
        return -(-self.rows // self._rows_of_a_block())

    def close(self) -> None:
        """Close the file."""
        self._mapped = None
        self._file.close()

    def _rows_of_a_block(self) -> int:
        return max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (4 * self.dim)))

    def _map(self) -> np.ndarray:
        if self._mapped is None:
            # By the open file: by its name it may be gone, where another process has replaced the segment
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            self._mapped = np.frombuffer(mapped, dtype=np.float32).reshape(self.rows, self.dim)
        return self._mapped

    def _read_into(self, vectors: np.ndarray, start: int) -> None:
        """Read vectors that stand one after the other, from row ``start`` on."""
        view, done = memoryview(vectors).cast("B"), 0
        with self._lock:
            self._file.seek(4 * self.dim * start)
            while done < len(view):
                read = self._file.readinto(view[done:])
                if not read:
                    raise UsageError(f"{self._path} is damaged: it ends too early; build the store again")
                done += read

    def _need_units(self, vectors: np.ndarray) -> None:
        lengths = np.einsum("nd,nd->n", vectors, vectors)
        if not (np.abs(lengths - 1) < _LONGEST_ERROR).all():
            raise UsageError(
                f"{self._path} is damaged: it has a vector that is not of unit length; build the store again"
            )
