"""Where embeddings go: a file, or a store that is searched."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mdpr_fastreid.embedding.chunks import Chunks
from mdpr_fastreid.embedding.embeddings import Embeddings
from mdpr_fastreid.embedding.folder import write_file
from mdpr_fastreid.embedding.model_id import ModelId
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import need_place


class FileOutput:
    """An ``.npz`` file.

    Args:
        path: of the file.
        append: whether it may be there, and is added to.
        force: whether it may be there, and is replaced.

    Raises:
        UsageError: it is there and may not be, cannot be written, or is added to and is none.
    """

    def __init__(self, path: Path, append: bool, force: bool) -> None:
        if path.exists() and not (append or force):
            raise UsageError(f"{path} exists already; --append adds to it, --force replaces it")
        need_place(path)
        self.path = path
        self._earlier = Embeddings.read(path) if append and path.exists() else None

    @property
    def model(self) -> ModelId | None:
        """Whose embeddings it has already."""
        return self._earlier and self._earlier.model

    @property
    def root(self) -> str | None:
        """The folder that its names are relative to, if it has any."""
        return self._earlier and self._earlier.root

    def has(self, names: np.ndarray) -> np.ndarray:
        """Which of these names it has already: bool ``[n]``."""
        return np.isin(names, () if self._earlier is None else self._earlier.names)

    def write(self, chunks: Chunks, found: Embeddings) -> str:
        """Write what finished chunks hold; returns what it has now, in words."""
        total = write_file(chunks, found, self.path, self._earlier)
        new = f", {len(found)} of them new" if len(found) < total else ""
        return f"wrote {self.path}: {total} embeddings{new}, {self.path.stat().st_size / 2**20:.1f} MiB"


class StoreOutput:
    """A store, see :func:`mdpr_fastreid.search.open_store`; arguments and errors as of :class:`FileOutput`."""

    def __init__(self, where: str, append: bool, force: bool) -> None:
        self._where, self._append, self._force = where, append, force
        self.model: ModelId | None = None
        self.root: str | None = None
        self._is_there = _is_there(where)
        if not self._is_there:
            return
        if not (append or force):
            raise UsageError(f"{where} exists already; --append adds to it, --force replaces it")
        if append:
            with _opened(where) as store:
                self.model = store.model
                self.root = _root_of(store)

    def has(self, names: np.ndarray) -> np.ndarray:
        """Which of these names it has already: bool ``[n]``."""
        if not (self._append and self._is_there):
            return np.zeros(len(names), dtype=bool)
        with _opened(self._where) as store:
            return store.has([str(name) for name in names])

    def write(self, chunks: Chunks, found: Embeddings) -> str:
        """Add what finished chunks hold; returns what it has now, in words."""
        from mdpr_fastreid.search import create_store

        if self._append and self._is_there:
            with _opened(self._where) as store:
                for part in _parts(chunks, found):
                    store.add(part)
                return f"added {len(found)} embeddings to {self._where}: it has {store.count()}"
        with create_store(self._where, _parts(chunks, found), force=self._force, say=print) as store:
            return f"wrote {self._where}: {store.count()} embeddings"


def output_at(where: str, append: bool, force: bool) -> FileOutput | StoreOutput:
    """The output of a name: a file if it ends in ``.npz``."""
    return FileOutput(Path(where), append, force) if where.endswith(".npz") else StoreOutput(where, append, force)


def place_of_chunks(where: str) -> Path:
    """What finished chunks lie beside: the output, or for an address a name of it in the present folder."""
    if "://" not in where:
        return Path(where)
    return Path("".join(char if char.isalnum() else "-" for char in where).strip("-"))


def _parts(chunks: Chunks, found: Embeddings) -> Iterator[Embeddings]:
    start = 0
    for chunk in chunks.read():
        part = found.rows(slice(start, start + len(chunk.rows)))
        known = (part.names, part.cameras, part.times, part.identities)
        start += len(chunk.rows)
        yield Embeddings(chunk.vectors, *known, part.model, part.root)


def _opened(where: str):
    from mdpr_fastreid.search import open_store

    return open_store(where)


def _is_there(where: str) -> bool:
    if "://" not in where:
        return os.path.lexists(where)
    try:
        _opened(where).close()
    except UsageError as error:
        if "has no collection" in str(error):
            return False
        raise
    return True


def _root_of(store) -> str | None:
    """The folder that a store's names are relative to: that of any of its images."""
    if not store.count():
        return None
    hit = store.search(np.ones((1, store.model.dim), np.float32), 1)[0][0]
    return hit.path[: -len(hit.name)].rstrip("/") or "/"
