"""The store on disk, searched by FAISS: a folder of segments that never change, and a manifest that names them.

A writer writes new files beside those that are there, and then replaces the manifest, under a lock that writers share.
Killed at any moment, it leaves the old manifest, whose files are all there. Readers take no lock: they see the manifest
of before or of after.
"""

import itertools
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock
import numpy as np

from mdpr_fastreid.embedding import Embeddings, ModelId
from mdpr_fastreid.errors import UsageError, printable
from mdpr_fastreid.search import manifest as manifests
from mdpr_fastreid.search.conditions import Condition
from mdpr_fastreid.search.kinds import choose, is_exact_fast
from mdpr_fastreid.search.manifest import Manifest, SegmentRecord
from mdpr_fastreid.search.segments import PREFIX, Part, Segment, write_deleted, write_index, write_segment
from mdpr_fastreid.search.store import Hit, Store, need_cosine, need_unique, unit_vectors

_LOCK = "lock"
_SECONDS_FOR_A_WRITER = 60.0
# A store may change between its manifest and its segments that often before it is given up
_ATTEMPTS = 5
_GOOD_RECALL = 0.95
_ROWS_AT_ONCE = 4096

Say = Callable[[str], object]


class FaissStore(Store):
    """A store in a folder, which sees what other processes add to it.

    Args:
        folder: of the store.

    Raises:
        UsageError: it is none, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: list[Segment] = []
        self._model: ModelId | None = None
        self._closed = False
        self._manifest_seen: tuple | None = None
        self._refreshing = threading.Lock()
        self._refresh()

    @classmethod
    def create(
        cls,
        folder: Path,
        parts: Iterable[Embeddings],
        *,
        force: bool = False,
        kind: str = "auto",
        memory: int | None = None,
        say: Say = lambda line: None,
    ) -> "FaissStore":
        """Make a store of embeddings, and the index that suits so many.

        Args:
            folder: of the store.
            parts: of one model; no name twice. What they are in memory at once is up to who yields them.
            force: replace the store that is there, once the new one is complete.
            kind: of index, see :func:`mdpr_fastreid.search.kinds.choose`.
            memory: bytes that a search may take.
            say: gets a line about the index that is chosen, and one about what it finds.

        Raises:
            UsageError: the folder is something else, or a store and ``force`` is not given; there is no image; what
                :meth:`add` raises.
        """
        _need_place(folder, force)
        with _writing(folder):
            _need_place(folder, force)
            models: list[ModelId] = []
            _write_all(folder, _checked(parts, models), models, kind, memory, say)
        return cls(folder)

    def rebuild(self, kind: str = "auto", memory: int | None = None, say: Say = lambda line: None) -> None:
        """Make one segment of all images that are there, with the index that suits so many.

        Until it is complete, the store is searched as it is. Nobody else can write to it meanwhile. The disk needs
        room for the vectors once more, unless they are one segment already, of which nothing is deleted.

        Args:
            kind: see :meth:`create`.
            memory: see :meth:`create`.
            say: see :meth:`create`.
        """
        with _writing(self._folder):
            self._refresh()
            records = self.described()
            if len(records) == 1 and not records[0].deleted:
                _index_it(self._folder, records[0], self.model, kind, memory, say)
            else:
                parts = itertools.chain.from_iterable(segment.parts() for segment in self._segments)
                _write_all(self._folder, parts, [self.model], kind, memory, say)
        self._refresh()

    def add(self, embeddings: Embeddings) -> int:
        """As of :class:`Store`; small segments at the end are written again with what is added."""
        with _writing(self._folder):
            self._refresh()
            self.model.check_same(embeddings.model, str(self._folder), "what is added")
            names = [str(name) for name in embeddings.names]
            need_unique(names)
            if not names:
                return 0
            deleted = self._deleted_with(names)
            replaced = sum(int(mask.sum()) for mask in deleted) - sum(int(s.deleted.sum()) for s in self._segments)
            merged = self._number_to_merge(len(names))
            kept, tail = len(self._segments) - merged, self._segments[len(self._segments) - merged :]
            old = (segment.parts(mask) for segment, mask in zip(tail, deleted[kept:], strict=True))
            record, _ = write_segment(self._folder, itertools.chain(*old, _parts_of(embeddings)))
            self._commit([*self._records_with(deleted[:kept]), record])
        return replaced

    def delete(self, names: Collection[str]) -> int:
        with _writing(self._folder):
            self._refresh()
            before = self.count()
            self._commit(self._records_with(self._deleted_with(list(names))))
            return before - self.count()

    @property
    def model(self) -> ModelId:
        """The model of every vector in it."""
        self._refresh()
        return self._model

    def _search(self, queries: np.ndarray, top: int, condition: Condition) -> list[list[Hit]]:
        segments = self._segments
        found: list[list[tuple[float, int, int]]] = [[] for _ in queries]
        for number, segment in enumerate(segments):
            scores, rows = segment.search(queries, top, condition)
            for line, values, there in zip(found, scores.tolist(), rows.tolist(), strict=True):
                line += [(-score, number, row) for score, row in zip(values, there, strict=True) if row >= 0]
        return [[segments[s].hit(row, -score) for score, s, row in sorted(line)[:top]] for line in found]

    def has(self, names: Sequence[str]) -> np.ndarray:
        self._refresh()
        found = np.zeros(len(names), dtype=bool)
        for segment in self._segments:
            found |= segment.find(names) >= 0
        return found

    def vectors(self, names: Sequence[str]) -> np.ndarray:
        self._refresh()
        found = np.empty((len(names), self.model.dim), dtype=np.float32)
        missing = np.ones(len(names), dtype=bool)
        for segment in self._segments:
            rows = segment.find(names)
            found[rows >= 0] = segment.vectors.read(rows[rows >= 0])
            missing &= rows < 0
        if missing.any():
            name = names[int(missing.argmax())]
            raise UsageError(f"{self._folder} has no image {printable(name)}")
        return found

    def count(self) -> int:
        self._refresh()
        return sum(segment.count() for segment in self._segments)

    def cameras(self) -> list[str]:
        self._refresh()
        return sorted(set().union(*(segment.cameras() for segment in self._segments)))

    def embeddings(self) -> Iterator[Embeddings]:
        """All images, some at a time, those of one folder together; their vectors are of unit length."""
        self._refresh()
        for part in itertools.chain.from_iterable(segment.parts() for segment in self._segments):
            roots = np.array(part.roots)
            for root in dict.fromkeys(part.roots):
                rows = np.flatnonzero(roots == root)
                texts = ([column[row] for row in rows] for column in (part.names, part.cameras, part.identities))
                names, cameras, identities = (np.array(column, dtype=np.str_) for column in texts)
                yield Embeddings(part.vectors[rows], names, cameras, part.times[rows], identities, self.model, root)

    def described(self) -> list[SegmentRecord]:
        """What it consists of."""
        self._refresh()
        return [segment.record for segment in self._segments]

    def check(self) -> None:
        """Compare every file with its hash, the vectors of approximate segments included, which opening does not.

        Raises:
            UsageError: one is damaged.
        """
        for record in self.described():
            for file in record.all_files():
                file.check(self._folder / record.folder)

    def close(self) -> None:
        for segment in self._segments:
            segment.close()
        self._closed = True

    def _refresh(self) -> None:
        """Take over what was written since, by this process or another."""
        with self._refreshing:
            if self._closed:
                raise ValueError(f"{self._folder} is closed")
            for attempt in range(_ATTEMPTS):
                seen = manifests.seen(self._folder)
                if seen is not None and seen == self._manifest_seen:
                    return
                manifest = Manifest.read(self._folder)
                if self._model is not None:
                    self._model.check_same(manifest.model, f"{self._folder} when it was opened", "what replaced it")
                there = {segment.record.folder: segment for segment in self._segments}
                try:
                    self._segments = [
                        there[record.folder].renewed(record)
                        if record.folder in there
                        else Segment(self._folder, record, manifest.model.dim)
                        for record in manifest.segments
                    ]
                except FileNotFoundError as error:
                    if attempt == _ATTEMPTS - 1 or manifests.seen(self._folder) == seen:
                        raise UsageError(f"{error.filename} is gone: build the store again") from error
                    continue
                self._model, self._manifest_seen = manifest.model, seen
                return

    def _deleted_with(self, names: list[str]) -> list[np.ndarray]:
        """Which rows of each segment are deleted once images of these names are."""
        masks = []
        for segment in self._segments:
            mask, rows = segment.deleted.copy(), segment.find(names)
            mask[rows[rows >= 0]] = True
            masks.append(mask)
        return masks

    def _records_with(self, deleted: list[np.ndarray]) -> list[SegmentRecord]:
        """Records of the first segments, with these rows deleted; a segment of which nothing is left has none."""
        records = []
        for segment, mask in zip(self._segments, deleted, strict=False):
            if (mask == segment.deleted).all():
                records.append(segment.record)
            elif not mask.all():
                records.append(write_deleted(self._folder, segment.record, np.flatnonzero(mask)))
        return records

    def _number_to_merge(self, rows: int) -> int:
        """How many of the last segments are written again with what is added, so that there are never many."""
        merged = 0
        for segment in reversed(self._segments):
            fits = is_exact_fast(rows + segment.record.rows, self.model.dim)
            if segment.record.kind != "exact" or segment.record.rows > rows or not fits:
                break
            rows += segment.record.rows
            merged += 1
        return merged

    def _commit(self, records: list[SegmentRecord]) -> None:
        Manifest(self.model, tuple(records)).write(self._folder)
        self._refresh()
        _remove_unused(self._folder)


def _write_all(
    folder: Path, parts: Iterable[Part], models: list[ModelId], kind: str, memory: int | None, say: Say
) -> None:
    """Let a store consist of one segment. ``models`` has the model once the parts have been read."""
    _remove_unused(folder)
    record, columns = write_segment(folder, parts)
    try:
        if not record.rows:
            raise UsageError("there is no image to be searched")
        repeated = columns.first_repeated()
        if repeated is not None:
            raise UsageError(f"{printable(repeated)} is there twice: every image needs a name of its own")
        _index_it(folder, record, models[0], kind, memory, say)
    except BaseException:
        shutil.rmtree(folder / record.folder, ignore_errors=True)
        raise


def _index_it(folder: Path, record: SegmentRecord, model: ModelId, kind: str, memory: int | None, say: Say) -> None:
    """Let a store consist of a segment, with another index than it has."""
    plan = choose(record.rows, model.dim, kind, memory)
    say(str(plan))
    record = write_index(folder, record, plan)
    if record.recall:
        say(_said_of_recall(record))
    Manifest(model, (record,)).write(folder)
    _remove_unused(folder)


def _said_of_recall(record: SegmentRecord) -> str:
    found = f"recall@1 {record.recall['1']:.3f}, recall@10 {record.recall['10']:.3f}, on a sample against exact search"
    if record.recall["10"] >= _GOOD_RECALL:
        return found
    return f"{found}: that is little, --kind {'hnsw or ' * (record.kind == 'ivfpq')}exact finds more"


def _checked(parts: Iterable[Embeddings], models: list[ModelId]) -> Iterator[Part]:
    for embeddings in parts:
        if models:
            models[0].check_same(embeddings.model)
        else:
            need_cosine(embeddings.model)
            models.append(embeddings.model)
        yield from _parts_of(embeddings)


def _parts_of(embeddings: Embeddings) -> Iterator[Part]:
    for start in range(0, len(embeddings), _ROWS_AT_ONCE):
        some = embeddings.rows(slice(start, start + _ROWS_AT_ONCE))
        names = [str(name) for name in some.names]
        yield Part(
            unit_vectors(some.vectors, names, some.model.dim),
            names,
            [str(camera) for camera in some.cameras],
            [str(identity) for identity in some.identities],
            np.asarray(some.times, dtype=np.float64),
            [some.root] * len(names),
        )


def _need_place(folder: Path, force: bool) -> None:
    """Refuse a folder of something else, and a store that must not be replaced."""
    if (folder / manifests.NAME).exists():
        if not force:
            raise UsageError(f"{folder} exists already: --append adds to it, --force replaces it")
    elif folder.exists() and not (folder.is_dir() and all(_is_ours(path) for path in folder.iterdir())):
        raise UsageError(f"{folder} exists and is no store of embeddings: name another place")


def _is_ours(path: Path) -> bool:
    return path.name == _LOCK or path.name.startswith((PREFIX, manifests.NAME))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Be the only writer of a store.

    Raises:
        UsageError: another process writes to it for long, or the folder cannot be written.
    """
    lock = filelock.FileLock(folder / _LOCK, timeout=_SECONDS_FOR_A_WRITER)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise UsageError(f"another process is writing to {folder}: wait for it, then run this again") from error
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}; name another place") from error
    try:
        yield
    finally:
        lock.release()


def _remove_unused(folder: Path) -> None:
    """Remove files that no reader will open any more: of writers that were killed, and what was replaced."""
    used = {}
    if (folder / manifests.NAME).exists():
        used = {one.folder: {file.name for file in one.all_files()} for one in Manifest.read(folder).segments}
    for segment in (path for path in folder.iterdir() if path.name.startswith(PREFIX)):
        if segment.name not in used:
            shutil.rmtree(segment, ignore_errors=True)
            continue
        for path in segment.iterdir():
            if path.name not in used[segment.name]:
                path.unlink(missing_ok=True)
