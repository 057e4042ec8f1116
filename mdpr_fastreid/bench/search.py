"""Searching a million embeddings on disk: exact and approximate, build time, memory, latency and recall."""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from mdpr_fastreid.bench import report
from mdpr_fastreid.bench.clusters import Output, clustered_outputs, random_identities
from mdpr_fastreid.bench.processes import in_new_process, resident_memory
from mdpr_fastreid.embedding import Embeddings, ModelId
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.search import Store, create_store, open_store
from mdpr_fastreid.search.faiss_store import FaissStore
from mdpr_fastreid.search.kinds import KINDS, Plan, gib

HELP = "a store of embeddings: build time, memory, latency and recall of exact and approximate search"

_CAMERAS = 20
_BATCH = 4096
_TOP = 10
_TIMED_EXACT = 30  # of which each reads all vectors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes, kinds, threads and where the results go."""
    parser.add_argument("--n", type=int, default=1_000_000, help="vectors in the gallery")
    parser.add_argument("--dim", type=int, default=2048, help="numbers in a vector")
    parser.add_argument("--kinds", nargs="+", default=["exact", "hnsw"], metavar="K", help=", ".join(KINDS))
    parser.add_argument("--queries", type=int, default=500, help="searched one by one, and for recall")
    parser.add_argument("--append", type=int, default=10_000, metavar="N", help="vectors that are added at the end")
    parser.add_argument("--threads", type=int, default=2, help="that compute")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="for the store, which is removed again (default: for temporary files)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("logs/bench"), help="folder of search.json and search.md, which grow"
    )


def run(args: argparse.Namespace) -> int:
    """Write clustered vectors once, index and search them in processes of their own, print the table and write it."""
    if min(args.n, args.dim, args.queries, args.threads) < 1 or min(args.append, args.seed) < 0:
        raise UsageError("--n, --dim, --queries and --threads need to be 1 or more, --append and --seed 0 or more")
    if unknown := [kind for kind in args.kinds if kind not in KINDS]:
        raise UsageError(f"--kinds {unknown[0]}: give {', '.join(KINDS)}")
    args.kinds = ["exact", *(kind for kind in dict.fromkeys(args.kinds) if kind != "exact")]  # what recall is against
    resident_memory("VmRSS")  # refuses other systems than Linux
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="mdpr-bench-") as folder:
        place = Path(folder) / "gallery.faiss"
        _need_room(args, Path(folder))
        print(f"writing {args.n:,} vectors of {args.dim} numbers to {folder}", flush=True)
        written = in_new_process(_write, place, args)
        rows, exact = [], None
        for kind in args.kinds:
            print(f"{Plan(kind, args.n, args.dim)} ...", flush=True)
            built = in_new_process(_build, kind, place, args) if kind != "exact" else {"build_s": written}
            found, searched = in_new_process(_search, kind, place, args)
            exact = found if exact is None else exact
            rows.append({"kind": kind, **built, **searched, **_recall(exact, found)})
        if args.append:
            rows[-1] |= in_new_process(_append, place, args)
    about = {"vectors": f"{args.n:,} x {args.dim}", "queries": args.queries, "threads": args.threads}
    print(report.add_run("search", rows, _COLUMNS, args.output, about))
    return 0


def _need_room(args: argparse.Namespace, folder: Path) -> None:
    indexes = [Plan(kind, args.n, args.dim).index_bytes() for kind in args.kinds if kind != "exact"]
    needed = 4 * args.dim * (args.n + 2 * args.append) + 2 * max(indexes, default=0) + 200 * args.n
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UsageError(f"{folder} has {gib(free)} free, and {gib(needed)} are needed: give --folder, or less --n")


def _model(args: argparse.Namespace) -> ModelId:
    return ModelId("0" * 64, (384, 128), args.dim)


def _people(args: argparse.Namespace) -> Iterator[np.ndarray]:
    """Vectors of the gallery, of the queries and of what is appended, one after the other; some at a time."""
    identities = random_identities(np.random.default_rng(args.seed), args.n + args.queries + args.append)
    width = (Output("features", (args.dim,)),)
    for batch in clustered_outputs(width, identities, args.seed, _BATCH):
        yield batch["features"].numpy()


def _embeddings(vectors: np.ndarray, first: int, args: argparse.Namespace) -> Embeddings:
    numbers = np.arange(first, first + len(vectors))
    names = np.array([f"camera{number % _CAMERAS:02d}/{number:09d}.jpg" for number in numbers])
    cameras = np.array([str(number % _CAMERAS) for number in numbers])
    unknown = np.full(len(numbers), "", dtype=np.str_)
    return Embeddings(vectors, names, cameras, numbers.astype(np.float64), unknown, _model(args), "/gallery")


def _write(place: Path, args: argparse.Namespace) -> float:
    """Make the store, and beside it files of the queries and of what is appended; seconds."""
    rest: list[np.ndarray] = []

    def gallery() -> Iterator[Embeddings]:
        done = 0
        for vectors in _people(args):
            left = max(0, args.n - done)
            if left:
                yield _embeddings(vectors[:left], done, args)
            rest.append(vectors[left:])
            done += len(vectors)

    start = time.perf_counter()
    create_store(place, gallery(), kind="exact").close()
    seconds = time.perf_counter() - start
    queries, appended = np.split(np.concatenate(rest), [args.queries])
    np.save(place.with_name("queries.npy"), queries)
    np.save(place.with_name("appended.npy"), appended)
    return seconds


def _build(kind: str, place: Path, args: argparse.Namespace) -> dict:
    """Build an index over the vectors that are there."""
    store = _opened(place, args)
    before = resident_memory("VmRSS")
    start = time.perf_counter()
    store.rebuild(kind)
    seconds = time.perf_counter() - start
    (record,) = store.described()
    return {
        "build_s": seconds,
        "build_stated_gib": Plan(kind, args.n, args.dim).build_memory() / 2**30,
        "build_gib": resident_memory("VmHWM") - before,
        "effort": record.effort,
        "sample_recall": record.recall,
    }


def _search(kind: str, place: Path, args: argparse.Namespace) -> tuple[list[list[str]], dict]:
    """The names that are found, and how long each query takes on its own."""
    queries = np.load(place.with_name("queries.npy"))
    _set_threads(args)
    before = resident_memory("VmRSS")
    start = time.perf_counter()
    store = _opened(place, args)
    opened = time.perf_counter() - start
    found = [[hit.name for hit in hits] for hits in store.search(queries, _TOP)]
    times = _latencies(store, queries[:_TIMED_EXACT] if kind == "exact" else queries)
    filtered = _latencies(store, queries[:_TIMED_EXACT], without_cameras=[["3"]])
    return found, {
        "open_s": opened,
        "stated_gib": Plan(kind, args.n, args.dim).memory() / 2**30,
        "memory_gib": resident_memory("VmRSS") - before,
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
        "filtered_p50_ms": float(np.percentile(filtered, 50)),
    }


def _append(place: Path, args: argparse.Namespace) -> dict:
    """Seconds until what is added is found by who has opened the store before."""
    added = _embeddings(np.load(place.with_name("appended.npy")), args.n + args.queries, args)
    reader, writer = _opened(place, args), _opened(place, args)
    start = time.perf_counter()
    writer.add(added)
    (hits,) = reader.search(added.vectors[-1:], 1)
    seconds = time.perf_counter() - start
    if hits[0].name != added.names[-1]:
        raise RuntimeError("what was added is not found")
    times = _latencies(reader, np.load(place.with_name("queries.npy")))
    return {"appended": len(added), "append_s": seconds, "appended_p50_ms": float(np.percentile(times, 50))}


def _opened(place: Path, args: argparse.Namespace) -> FaissStore:
    _set_threads(args)
    return open_store(place)


def _set_threads(args: argparse.Namespace) -> None:
    import faiss
    from threadpoolctl import threadpool_limits

    faiss.omp_set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    threadpool_limits(args.threads)


def _latencies(store: Store, queries: np.ndarray, **condition) -> list[float]:
    """Milliseconds of each query, searched on its own; one more before warms up."""
    times = []
    for query in (queries[0], *queries):
        start = time.perf_counter()
        store.search(query[None], _TOP, **condition)
        times.append(1e3 * (time.perf_counter() - start))
    return times[1:]


def _recall(exact: list[list[str]], found: list[list[str]]) -> dict[str, float]:
    shares = {}
    for top in (1, _TOP):
        both = [len({*one[:top]} & {*other[:top]}) / len(one[:top]) for one, other in zip(exact, found, strict=True)]
        shares[f"recall_{top}"] = float(np.mean(both))
    return shares


def _number(key: str, digits: int):
    return lambda row: f"{row[key]:.{digits}f}" if key in row else ""


_COLUMNS = {
    "index": lambda row: row["kind"],
    "build, s": _number("build_s", 0),
    "memory to build, GiB": _number("build_gib", 2),
    "stated": _number("build_stated_gib", 2),
    "memory to search, GiB": _number("memory_gib", 2),
    "stated before": _number("stated_gib", 2),
    "p50, ms": _number("p50_ms", 2),
    "p99, ms": _number("p99_ms", 2),
    "with a filter, p50": _number("filtered_p50_ms", 2),
    "recall@1": _number("recall_1", 3),
    "recall@10": _number("recall_10", 3),
    "open, s": _number("open_s", 1),
    "appended": lambda row: f"{row['appended']:,}" if "appended" in row else "",
    "found after, s": _number("append_s", 1),
    "p50 then, ms": _number("appended_p50_ms", 2),
}
