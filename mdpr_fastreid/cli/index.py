"""``mdpr index``: a store of embeddings that is searched, added to and rebuilt."""

import argparse

from mdpr_fastreid.errors import UsageError, printable, shown

HELP = "make a searchable store of embeddings, or add to one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("source", metavar="SOURCE", help=".npz of `mdpr embed`, or a FAISS store")
    parser.add_argument(
        "-o",
        "--output",
        metavar="STORE",
        help="gallery.faiss, gallery.db (Milvus Lite) or http://host:19530#name (default: SOURCE, a store, is rebuilt)",
    )
    parser.add_argument("--append", action="store_true", help="add to STORE; the same name again replaces an image")
    parser.add_argument("--force", action="store_true", help="replace STORE if it exists")
    parser.add_argument(
        "--kind", default="auto", metavar="K", help="auto (by size and memory), exact, hnsw or ivfpq; of FAISS"
    )
    parser.add_argument(
        "--memory", type=float, metavar="GIB", help="that the index may take (default: half of the free)"
    )
    parser.add_argument("--delete", action="append", metavar="NAME", help="instead: delete images of SOURCE, a store")
    parser.add_argument("--check", action="store_true", help="instead: compare SOURCE, a FAISS store, with its hashes")


def run(args: argparse.Namespace) -> int:
    """Make, add, rebuild, delete or check."""
    if args.memory is not None and not args.memory > 0:
        raise UsageError(f"--memory {args.memory:g}: give more than 0 GiB")
    instead = bool(args.delete) + args.check
    if instead > 1 or (instead and (args.output or args.append or args.force)):
        raise UsageError("--delete and --check work on SOURCE alone: give neither -o nor another of them")
    if args.append and (args.force or not args.output):
        raise UsageError("--append adds to the store of -o, and --force replaces it: give -o and one of them")
    if args.delete:
        return _delete(args)
    if args.check:
        return _check(args)
    if args.append:
        return _append(args)
    if args.output is None:
        return _rebuild(args)
    return _create(args)


def _create(args: argparse.Namespace) -> int:
    from mdpr_fastreid.search import create_store

    if args.output == args.source:
        raise UsageError(f"{args.source} is SOURCE, too: name another store, such as gallery.faiss")
    settings = {"force": args.force, "kind": args.kind, "memory": _bytes(args), "say": print}
    with create_store(args.output, _embeddings(args.source), **settings) as store:
        print(f"wrote {printable(args.output)}: {store.count():,} images, {_cameras(store)}")
    return 0


def _append(args: argparse.Namespace) -> int:
    from mdpr_fastreid.search import open_store

    with open_store(args.output) as store:
        added = replaced = 0
        for part in _embeddings(args.source):
            replaced += store.add(part)
            added += len(part)
        same = f", {replaced:,} of them in the place of images of the same name" if replaced else ""
        print(f"added {added:,} images to {printable(args.output)}{same}: it has {store.count():,}, {_cameras(store)}")
        _say_what_has_no_index(args.output, store)
    return 0


def _rebuild(args: argparse.Namespace) -> int:
    with _faiss_store(args.source, "-o names the store to write") as store:
        store.rebuild(args.kind, _bytes(args), print)
        print(f"rebuilt {printable(args.source)}: {store.count():,} images, {_cameras(store)}")
    return 0


def _delete(args: argparse.Namespace) -> int:
    from mdpr_fastreid.search import open_store

    with open_store(args.source) as store:
        there = store.has(args.delete)
        missing = [name for name, is_there in zip(args.delete, there, strict=True) if not is_there]
        deleted = store.delete(args.delete)
        print(f"deleted {deleted:,} images of {printable(args.source)}: it has {store.count():,}")
    if missing:
        raise UsageError(f"{args.source} has no {', '.join(map(shown, missing[:5]))}{', ...' * (len(missing) > 5)}")
    return 0


def _check(args: argparse.Namespace) -> int:
    with _faiss_store(args.source, "only a FAISS store has hashes to compare") as store:
        store.check()
        print(f"{printable(args.source)}: {store.count():,} images, every file as it was written")
    return 0


def _embeddings(source: str):
    """The embeddings of a file, or of a store part by part."""
    from mdpr_fastreid.embedding import Embeddings

    if source.endswith(".npz"):
        return [Embeddings.read(source)]
    store = _faiss_store(source, "SOURCE is an .npz file or a FAISS store")
    return store.embeddings()


def _faiss_store(where: str, otherwise: str):
    from mdpr_fastreid.search import open_store
    from mdpr_fastreid.search.faiss_store import FaissStore

    store = open_store(where)
    if not isinstance(store, FaissStore):
        store.close()
        raise UsageError(f"{where} is no FAISS store: {otherwise}")
    return store


def _say_what_has_no_index(where: str, store) -> None:
    from mdpr_fastreid.search.faiss_store import FaissStore

    if not isinstance(store, FaissStore):
        return
    records = store.described()
    without = sum(record.rows for record in records if record.kind == "exact")
    if without < store.count():
        print(f"{without:,} of them are searched exactly until `mdpr index {where}` builds one index of all")


def _bytes(args: argparse.Namespace) -> int | None:
    return None if args.memory is None else round(args.memory * 2**30)


def _cameras(store) -> str:
    known = [camera for camera in store.cameras() if camera]
    return f"{len(known)} camera{'s' * (len(known) != 1)}" if known else "no cameras known"
