"""A store in a collection of Milvus: of a server or cluster, or, by Milvus Lite, in a folder ``gallery.db``.

A text of a user's is never part of a filter expression: images and cameras are named there by hashes of their names.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from mdpr_fastreid.embedding import Embeddings, ModelId
from mdpr_fastreid.errors import UsageError, one_line, printable
from mdpr_fastreid.search.conditions import Condition
from mdpr_fastreid.search.store import Hit, Store, need_cosine, need_unique, unit_vectors

_COLLECTION = "gallery"
_MODEL = "mdpr.model"
_HIT_FIELDS = ["name", "camera", "time", "identity", "root"]

_SECONDS_TO_CONNECT, _SECONDS = 5.0, 60.0
_ROWS_AT_ONCE, _BYTES_AT_ONCE = 1000, 2**23
_QUERIES_AT_ONCE = 64
_MOST_HITS = 16_384
_LONGEST_TEXT = 65_535  # bytes
# Milvus has no NaN
_NO_TIME, _FIRST_TIME, _LAST_TIME = -1e18, -1e17, 1e17

_open_files: Counter[str] = Counter()
_opening = threading.Lock()


class MilvusStore(Store):
    """A collection that is there.

    Args:
        where: ``gallery.db``, or the address of a server; ``#name`` at its end names the collection.

    Raises:
        UsageError: pymilvus is not installed, the server does not answer, or there is no such collection of ours.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        address, self._collection = _parts_of(where)
        if address.endswith(".db") and not os.path.isdir(address):
            raise UsageError(f"{address} is no database of Milvus Lite, which is a folder: mdpr index makes one")
        self._connection = _Connection(address)
        try:
            self.model = self._read_model()
            self._connection("load_collection", self._collection)
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def create(
        cls,
        where: str,
        parts: Iterable[Embeddings],
        *,
        force: bool = False,
        say: Callable[[str], object] = lambda line: None,
    ) -> "MilvusStore":
        """Make a collection, under another name until all images are in it.

        Args:
            where: as of :class:`MilvusStore`.
            parts: of one model.
            force: replace the collection that is there, once the new one is complete.
            say: gets a line about the index.

        Raises:
            UsageError: as :class:`MilvusStore`, or it is there already and ``force`` is not given.
        """
        address, name = _parts_of(where)
        connection = _Connection(address)
        try:
            if connection("has_collection", name) and not force:
                raise UsageError(f"{where} exists already: --append adds to it, --force replaces it")
            unfinished = f"{name}_unfinished"
            connection("drop_collection", unfinished)
            model = None
            for embeddings in parts:
                if model is None:
                    need_cosine(embeddings.model)
                    model = embeddings.model
                    _make_collection(connection, unfinished, model)
                model.check_same(embeddings.model)
                _write(connection, unfinished, embeddings)
            if model is None or not _count(connection, unfinished):
                raise UsageError("there is no image to be searched")
            connection("drop_collection", name)
            connection("rename_collection", unfinished, name)
            say(f"Milvus chooses the index: collection {name} of {address}")
        finally:
            connection.close()
        return cls(where)

    def add(self, embeddings: Embeddings) -> int:
        """Add images, some thousand at a time: where it fails or is killed, adding the same again completes it."""
        self.model.check_same(embeddings.model, self._where, "what is added")
        before = self.count()
        _write(self._connection, self._collection, embeddings)
        return before + len(embeddings) - self.count()

    def delete(self, names: Collection[str]) -> int:
        before, keys = self.count(), [_key(name) for name in names]
        for start in range(0, len(keys), _ROWS_AT_ONCE):
            self._connection("delete", self._collection, ids=keys[start : start + _ROWS_AT_ONCE])
        return before - self.count()

    def _search(self, queries: np.ndarray, top: int, condition: Condition) -> list[list[Hit]]:
        top = min(top, self.count()) if top > _MOST_HITS else top
        if top > _MOST_HITS:
            raise UsageError(f"top {top}: Milvus gives {_MOST_HITS:,} hits of a query at the most")
        found = []
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            found += self._connection(
                "search",
                self._collection,
                data=list(queries[start : start + _QUERIES_AT_ONCE]),
                anns_field="vector",
                limit=max(top, 1),
                filter=_expression(condition),
                output_fields=_HIT_FIELDS,
            )
        return [[_hit(one["entity"], one["distance"]) for one in answer] for answer in found]

    def has(self, names: Sequence[str]) -> np.ndarray:
        found = {row["key"] for row in self._get(names, "key")}
        return np.array([_key(name) in found for name in names], dtype=bool)

    def vectors(self, names: Sequence[str]) -> np.ndarray:
        keys = [_key(name) for name in names]
        found = {row["key"]: row["vector"] for row in self._get(names, "vector")}
        missing = next((name for name, key in zip(names, keys, strict=True) if key not in found), None)
        if missing is not None:
            raise UsageError(f"{self._where} has no image {printable(missing)}")
        return np.array([found[key] for key in keys], dtype=np.float32).reshape(len(keys), self.model.dim)

    def _get(self, names: Sequence[str], field: str) -> Iterator[dict]:
        keys = [_key(name) for name in names]
        for start in range(0, len(keys), _ROWS_AT_ONCE):
            yield from self._connection(
                "get", self._collection, ids=keys[start : start + _ROWS_AT_ONCE], output_fields=[field]
            )

    def count(self) -> int:
        return _count(self._connection, self._collection)

    def cameras(self) -> list[str]:
        """As of :class:`Store`, asked for until every image has a known one."""
        known: set[str] = set()
        while True:
            # Milvus has no "distinct": images of cameras that are not known yet, until there are none
            found = self._connection(
                "query",
                self._collection,
                filter=f"camera_key not in {_listed(known)}" if known else "",
                output_fields=["camera"],
                limit=_MOST_HITS,
            )
            if not found:
                return sorted(known)
            known |= {row["camera"] for row in found}

    def close(self) -> None:
        self._connection.close()

    def _read_model(self) -> ModelId:
        if not self._connection("has_collection", self._collection):
            there = ", ".join(sorted(self._connection("list_collections"))) or "none"
            raise UsageError(
                f"{self._where} has no collection {self._collection} (it has {there}): mdpr index makes one"
            )
        about = self._connection("describe_collection", self._collection)
        try:
            # Milvus Lite keeps no description
            return ModelId.from_dict(json.loads(about.get("properties", {}).get(_MODEL) or about["description"]))
        except (ValueError, UsageError) as error:
            raise UsageError(
                f"collection {self._collection} of {self._where} is not of mdpr index: name another, as {_COLLECTION}2 "
                f"in {self._where.partition('#')[0]}#{_COLLECTION}2"
            ) from error


class _Connection:
    """Calls a client of pymilvus; whatever goes wrong is an error in one line."""

    def __init__(self, address: str) -> None:
        try:
            import pymilvus
        except ImportError as error:
            raise UsageError(f"{address} needs pymilvus: pip install 'mdpr-fastreid[milvus]'") from error
        self._address, self._closed = address, False
        self.is_file = address.endswith(".db")
        # They log what they raise, with a traceback
        for name in ("pymilvus", "milvus_lite"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with _opening, self._one_line(pymilvus):
            self._client = pymilvus.MilvusClient(address, timeout=_SECONDS_TO_CONNECT)
            _open_files[address] += 1

    def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        import pymilvus

        with self._one_line(pymilvus):
            return getattr(self._client, method)(*args, timeout=_SECONDS, **options)

    @property
    def client(self) -> Any:
        """The client, for what asks no server."""
        return self._client

    def close(self) -> None:
        """Close it; of a file, let other processes open it."""
        if self._closed:
            return
        self._closed = True
        self._client.close()
        with _opening:
            _open_files[self._address] -= 1
            if self.is_file and not _open_files[self._address]:
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(self._address)

    @contextlib.contextmanager
    def _one_line(self, pymilvus: Any) -> Iterator[None]:
        import grpc

        try:
            yield
        except (pymilvus.MilvusException, grpc.RpcError, ValueError) as error:
            said = getattr(error, "message", None) or one_line(error)
            if "Open local milvus failed" in said:
                said = "another process has it open, or it is damaged"
            elif "not installed" in said or "is required" in said:
                said = "pip install 'mdpr-fastreid[milvus]'"
            raise UsageError(f"{self._address} fails: {printable(said)[:300]}") from error


def _parts_of(where: str) -> tuple[str, str]:
    """Address and collection."""
    address, _, collection = where.partition("#") if "://" in where else (str(Path(where).absolute()), "", "")
    collection = collection or _COLLECTION
    if not re.fullmatch(r"[A-Za-z_]\w{0,200}", collection, re.ASCII):
        raise UsageError(f"{printable(collection)} is no name of a collection: give letters, digits and _")
    if "://" in address:
        try:
            sound = bool(urlsplit(address).hostname) and urlsplit(address).port != 0
        except ValueError:
            sound = False
        if not sound:
            raise UsageError(f"{printable(address)} is no address of a server: give http://host:19530")
    return address, collection


def _make_collection(connection: _Connection, name: str, model: ModelId) -> None:
    from pymilvus import DataType

    about = json.dumps(model.to_dict())
    schema = connection.client.create_schema(auto_id=False, enable_dynamic_field=False, description=about)
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=64)
    for field in ("name", "camera", "identity", "root"):
        schema.add_field(field, DataType.VARCHAR, max_length=_LONGEST_TEXT)
    schema.add_field("camera_key", DataType.VARCHAR, max_length=64)
    schema.add_field("time", DataType.DOUBLE)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=model.dim)
    index = connection.client.prepare_index_params()
    # Milvus Lite's approximate search misses images even of small collections
    index.add_index("vector", index_type="FLAT" if connection.is_file else "AUTOINDEX", metric_type="COSINE")
    connection(
        "create_collection",
        name,
        schema=schema,
        index_params=index,
        consistency_level="Strong",  # what was added is found by the next search
        properties={_MODEL: about},
    )


def _write(connection: _Connection, collection: str, embeddings: Embeddings) -> None:
    names = [str(name) for name in embeddings.names]
    need_unique(names)
    vectors = unit_vectors(embeddings.vectors, names, embeddings.model.dim)
    texts = [names, embeddings.cameras, embeddings.identities, [embeddings.root] * len(names)]
    for column in texts:
        _need_texts(column)
    step = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // (4 * embeddings.model.dim)))
    times = np.where(np.isnan(embeddings.times), _NO_TIME, embeddings.times)
    for start in range(0, len(names), step):
        rows = [
            {
                "key": _key(names[row]),
                "name": names[row],
                "camera": str(embeddings.cameras[row]),
                "camera_key": _key(str(embeddings.cameras[row])),
                "identity": str(embeddings.identities[row]),
                "root": embeddings.root,
                "time": float(times[row]),
                "vector": vectors[row],
            }
            for row in range(start, min(start + step, len(names)))
        ]
        connection("upsert", collection, rows)


def _need_texts(values: Iterable[str]) -> None:
    for value in set(map(str, values)):
        try:
            fits = len(value.encode()) <= _LONGEST_TEXT
        except UnicodeEncodeError:
            fits = False
        if not fits:
            raise UsageError(f"{printable(value)[:200]} is no text that Milvus stores: rename it, or use a FAISS store")


def _expression(condition: Condition) -> str:
    parts = []
    if condition.cameras is not None:
        parts.append(f"camera_key in {_listed(condition.cameras)}")
    if condition.without:
        parts.append(f"camera_key not in {_listed(condition.without)}")
    if condition.since is not None:
        parts.append(f"time >= {_clipped(condition.since)!r}")
    if condition.until is not None:
        parts.append(f"time <= {_clipped(condition.until)!r} and time >= {_FIRST_TIME!r}")
    return " and ".join(parts)


def _listed(cameras: Collection[str]) -> str:
    return json.dumps(sorted(map(_key, cameras)))


def _clipped(time: float) -> float:
    return float(np.clip(time, _FIRST_TIME, _LAST_TIME))


def _hit(row: dict, score: float) -> Hit:
    time = row["time"] if row["time"] >= _FIRST_TIME else float("nan")
    path = os.path.join(row["root"], row["name"])
    return Hit(row["name"], float(score), row["camera"], time, row["identity"], path)


def _count(connection: _Connection, collection: str) -> int:
    return int(connection("query", collection, filter="", output_fields=["count(*)"])[0]["count(*)"])


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
