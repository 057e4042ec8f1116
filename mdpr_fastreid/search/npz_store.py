"""A file of ``mdpr embed`` as a store: searched exactly, and never changed."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from mdpr_fastreid.embedding import Embeddings
from mdpr_fastreid.errors import UsageError, printable
from mdpr_fastreid.search.columns import coded
from mdpr_fastreid.search.conditions import Condition
from mdpr_fastreid.search.exact import nearest
from mdpr_fastreid.search.store import Hit, Store, need_cosine, unit_vectors

_ROWS_AT_ONCE = 2**14


class NpzStore(Store):
    """The embeddings of a file, in memory.

    Args:
        path: of the ``.npz``.

    Raises:
        UsageError: it cannot be read, or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        embeddings = Embeddings.read(path)
        self.model, self._root = embeddings.model, embeddings.root
        need_cosine(self.model)
        self._names = [str(name) for name in embeddings.names]
        self._rows = {name: row for row, name in enumerate(self._names)}
        self._vectors = unit_vectors(embeddings.vectors, self._names, self.model.dim)
        self._cameras, self._camera_codes = coded(embeddings.cameras)
        self._identities, self._times = embeddings.identities, embeddings.times

    def add(self, embeddings: Embeddings) -> NoReturn:
        """Always refused."""
        self._refuse()

    def delete(self, names: Collection[str]) -> NoReturn:
        """Always refused."""
        self._refuse()

    def _search(self, queries: np.ndarray, top: int, condition: Condition) -> list[list[Hit]]:
        passing = np.flatnonzero(condition.passes(self._camera_codes, self._cameras, self._times))
        some = (passing[start : start + _ROWS_AT_ONCE] for start in range(0, len(passing), _ROWS_AT_ONCE))
        scores, rows = nearest(queries, ((rows, self._vectors[rows]) for rows in some), top)
        return [
            [self._hit(row, score) for score, row in zip(line, there, strict=True)]
            for line, there in zip(scores.tolist(), rows.tolist(), strict=True)
        ]

    def has(self, names: Sequence[str]) -> np.ndarray:
        return np.array([name in self._rows for name in names], dtype=bool)

    def vectors(self, names: Sequence[str]) -> np.ndarray:
        missing = next((name for name in names if name not in self._rows), None)
        if missing is not None:
            raise UsageError(f"{self._path} has no image {printable(missing)}")
        return self._vectors[[self._rows[name] for name in names]]

    def count(self) -> int:
        return len(self._names)

    def cameras(self) -> list[str]:
        return sorted(self._cameras)

    def close(self) -> None:
        """Nothing is open."""

    def _hit(self, row: int, score: float) -> Hit:
        name, camera = self._names[row], self._cameras[self._camera_codes[row]]
        path = os.path.join(self._root, name)
        return Hit(name, score, camera, float(self._times[row]), str(self._identities[row]), path)

    def _refuse(self) -> NoReturn:
        raise UsageError(f"{self._path} is only read: mdpr index makes a store of it that can be changed")
