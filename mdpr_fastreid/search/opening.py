"""Which kind of store a name means."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from mdpr_fastreid.embedding import Embeddings, ModelId
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.search.store import Store

_SERVERS = ("http://", "https://")


def open_store(where: str | os.PathLike, model: ModelId | None = None) -> Store:
    """Open a store that is there.

    =============================  ====================================================================================
    ``gallery.faiss``              a folder of ours, searched by FAISS; the name is free
    ``gallery.npz``                what ``mdpr embed`` writes: read as a whole, searched exactly, and cannot be changed
    ``gallery.db``                 Milvus Lite, for which pymilvus and milvus-lite are installed
    ``http://host:19530#gallery``  a collection (``gallery`` by default) of a Milvus server
    =============================  ====================================================================================

    Args:
        where: one of these.
        model: whose vectors it is to be searched for.

    Raises:
        UsageError: it is none, is damaged, does not answer or has vectors of another model.
    """
    store = _open(where)
    if model is not None:
        try:
            store.model.check_same(model)
        except UsageError:
            store.close()
            raise
    return store


def create_store(
    where: str | os.PathLike,
    embeddings: Embeddings | Iterable[Embeddings],
    *,
    force: bool = False,
    kind: str = "auto",
    memory: int | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Store:
    """Make a store.

    Args:
        where: as :func:`open_store` takes it, but no ``.npz``.
        embeddings: of one model, no name twice; as a whole, or parts of it one after the other.
        force: replace the store that is there, once the new one is complete.
        kind: of a FAISS index: ``auto`` (by size and memory), ``exact``, ``hnsw`` or ``ivfpq``.
        memory: bytes that a search with a FAISS index may take; half of what is free by default.
        say: gets the lines about the index that is built.

    Raises:
        UsageError: it is there already and ``force`` is not given, the embeddings are not sound, or it cannot be
            written.
    """
    parts = [embeddings] if isinstance(embeddings, Embeddings) else embeddings
    if _is_milvus(where):
        from mdpr_fastreid.search.milvus_store import MilvusStore

        return MilvusStore.create(str(where), parts, force=force, say=say)
    if Path(where).suffix == ".npz":
        raise UsageError(f"{where}: mdpr embed writes .npz files; name a store, such as {Path(where).stem}.faiss")
    from mdpr_fastreid.search.faiss_store import FaissStore

    return FaissStore.create(Path(where), parts, force=force, kind=kind, memory=memory, say=say)


def _open(where: str | os.PathLike) -> Store:
    if _is_milvus(where):
        from mdpr_fastreid.search.milvus_store import MilvusStore

        return MilvusStore(str(where))
    if not os.path.lexists(where):
        raise UsageError(f"there is no store {where}: mdpr index makes one")
    if Path(where).suffix == ".npz":
        from mdpr_fastreid.search.npz_store import NpzStore

        return NpzStore(Path(where))
    from mdpr_fastreid.search.faiss_store import FaissStore

    return FaissStore(Path(where))


def _is_milvus(where: str | os.PathLike) -> bool:
    return str(where).startswith(_SERVERS) or Path(where).suffix == ".db"
