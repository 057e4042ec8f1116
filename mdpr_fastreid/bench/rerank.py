"""Re-ranking against stock FastReID's: seconds of the search and of the rest, peak memory, largest difference."""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from fastreid.config import get_cfg
from fastreid.utils import compute_dist

from mdpr_fastreid.bench import own_distance, report
from mdpr_fastreid.bench.clusters import clustered_features, outputs_described, random_identities
from mdpr_fastreid.bench.processes import in_new_process, resident_memory
from mdpr_fastreid.compat import stock
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.evaluation import Evaluator, reranking, shared_search
from mdpr_fastreid.evaluation.neighbors import nearest_neighbors

HELP = "re-ranking against stock FastReID's, on clustered features"

STOCK, SAME, BLOCK = "FastReID, all pairs", "MDPR, all pairs", "MDPR, query x gallery"
EVALUATION = "MDPR, whole evaluation"
# Queries of a data set with that many test images; others get Market-1501's share
_QUERIES = {23_100: 3_368, 93_820: 11_659}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes, dimensions, device and where the results go."""
    parser.add_argument(
        "--n", type=int, nargs="+", default=[5_000, 23_100, 93_820], help="query and gallery images together"
    )
    parser.add_argument("--dim", type=int, nargs="+", default=[2048, 4608], help="width of the features")
    parser.add_argument(
        "--max-stock", type=int, default=25_000, help="stock FastReID, and all pairs, up to that many images"
    )
    parser.add_argument(
        "--evaluation",
        action="store_true",
        help="instead: the evaluator with TEST.RERANK and TEST.ROC, from features to metrics",
    )
    parser.add_argument(
        "--distance",
        metavar="MODULE:FUNCTION",
        help="of your own, (query, gallery) -> [Q, G]: with --evaluation, the evaluation by it, plain and re-ranked",
    )
    parser.add_argument(
        "--outputs",
        type=outputs_described,
        metavar="LIST",
        help="what --distance compares, such as embeddings=9x512,visibility=9:binary; features=512 alone is one tensor",
    )
    parser.add_argument("--device", default="cpu", help="device of our features; stock FastReID runs on the CPU")
    parser.add_argument("--k1", type=int, default=20)
    parser.add_argument("--k2", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=1, help="the fastest of that many runs counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path("logs/bench"), help="folder of rerank.json and rerank.md, which grow"
    )


def run(args: argparse.Namespace) -> int:
    """Measure each implementation in a process of its own, print the table and write it."""
    if min(*args.dim, args.repeats, args.k1, args.k2) < 1 or min(args.n) < 2 or args.seed < 0:
        raise UsageError("--n needs 2 images or more; --dim, --repeats, --k1 and --k2 1 or more; --seed 0 or more")
    if args.device != "cpu" and not torch.cuda.is_available():
        raise UsageError(f"--device {args.device}: there is no GPU here")
    if (args.distance is None) != (args.outputs is None) or (args.distance and not args.evaluation):
        raise UsageError("--distance MODULE:FUNCTION needs --outputs and --evaluation, and --outputs needs --distance")
    if args.distance:
        own_distance.distance_named(args.distance)  # in a process of its own, a mistake would be a traceback
    _need_memory(args)
    for count in args.n:
        if args.distance:
            print(report.add_run("rerank", _by_own_distance(count, args), _COLUMNS, args.output))
            continue
        for width in args.dim:
            rows = _compare(count, width, args)
            print(report.add_run("rerank", rows, _COLUMNS, args.output))
    return 0


def _need_memory(args: argparse.Namespace) -> None:
    """Refuse features that do not fit into the memory of this machine."""
    numbers = sum(math.prod(one.shape) for one in args.outputs) if args.outputs else max(args.dim)
    needed, there = max(args.n) * numbers * 4 / 2**30, report.memory_gib()
    if needed > there:
        what = f"{max(args.n)} images with {numbers} numbers each"
        raise UsageError(f"--n: {what} take {needed:,.0f} GiB, and this machine has {there:.0f}; give fewer")


def _by_own_distance(count: int, args: argparse.Namespace) -> list[dict]:
    rows = []
    for implementation in (own_distance.PLAIN, own_distance.RERANKED):
        print(f"{count} images: {implementation} ...", flush=True)
        rows.append(in_new_process(own_distance.measure, implementation, count, _queries_of(count), args))
    return rows


def _queries_of(count: int) -> int:
    return _QUERIES.get(count, max(1, round(count * 3_368 / 23_100)))


def _compare(count: int, width: int, args: argparse.Namespace) -> list[dict]:
    implementations = [STOCK, SAME, BLOCK] if count <= args.max_stock else [BLOCK]
    if args.evaluation:
        implementations = [EVALUATION]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for implementation in implementations:
            print(f"{count} images, {width} wide: {implementation} ...", flush=True)
            path = Path(folder) / f"{len(rows)}.npy"
            rows.append(in_new_process(_measure, implementation, count, width, args, path))
            if implementation != STOCK and len(rows) > 1:
                _set_beside_stock(rows[-1], rows[0], path, Path(folder) / "0.npy")
    return rows


def _set_beside_stock(row: dict, stock: dict, distances: Path, stock_distances: Path) -> None:
    ours, theirs = np.load(distances, mmap_mode="r"), np.load(stock_distances, mmap_mode="r")
    row["largest_difference"] = max(float(np.abs(mine - other).max()) for mine, other in zip(ours, theirs, strict=True))
    for part in ("search_s", "rest_s", "total_s"):
        row[f"{part}_ratio"] = stock[part] / row[part]
    if stock["grown_gib"]:  # nothing grows where the warm-up was as large
        row["memory_ratio"] = row["grown_gib"] / stock["grown_gib"]


def _measure(implementation: str, count: int, width: int, args: argparse.Namespace, path: Path) -> dict:
    queries = _queries_of(count)
    features = torch.from_numpy(clustered_features(count, width, args.seed))
    if implementation != STOCK:
        features = features.to(args.device)
    search, settings = Stopwatch(features.device), {"k1": args.k1, "k2": args.k2}

    def compute(features: torch.Tensor, queries: int):
        if implementation == STOCK:
            function = stock("fastreid.utils.compute_dist:compute_jaccard_distance")
            return function(features, **settings, search_option=3)
        if implementation == EVALUATION:
            return _evaluate(features, queries, args)
        if implementation == SAME:
            return reranking.k_reciprocal_jaccard(features, **settings)
        return reranking.k_reciprocal_jaccard(features[:queries], features[queries:], **settings)

    with _timed_search(search):
        compute(features[: min(count, 1_000)], min(queries, 100))
        before = resident_memory("VmRSS")
        runs = []
        for _ in range(args.repeats):
            distances = None
            search.seconds, whole = 0.0, Stopwatch(features.device)
            distances = whole.time(compute, features, queries)
            runs.append((whole.seconds, search.seconds))
    total, searching = min(runs)
    row = {
        "implementation": implementation,
        "images": count,
        "queries": queries,
        "width": width,
        "device": args.device if implementation != STOCK else "cpu",
        "search_s": searching,
        "rest_s": total - searching,
        "total_s": total,
        "peak_gib": resident_memory("VmHWM"),
        "grown_gib": resident_memory("VmHWM") - before,
    }
    if features.is_cuda:
        row["peak_gpu_gib"] = torch.cuda.max_memory_allocated() / 2**30
    if implementation == EVALUATION:
        row["metrics"] = {name: float(value) for name, value in distances.items()}
    elif count <= args.max_stock:
        block = distances if implementation == BLOCK else distances[:queries, queries:]
        np.save(path, torch.as_tensor(block).cpu().numpy())
    return row


def _evaluate(features: torch.Tensor, queries: int, args: argparse.Namespace) -> dict:
    """The evaluator on the features, which it has on the CPU in any case: a batch at a time, then all of them."""
    cfg = get_cfg()
    cfg.TEST.ROC.ENABLED = cfg.TEST.RERANK.ENABLED = True
    cfg.TEST.RERANK.K1, cfg.TEST.RERANK.K2 = args.k1, args.k2
    evaluator = Evaluator(cfg, queries)
    identities = torch.from_numpy(random_identities(np.random.default_rng(args.seed), len(features)))
    cameras = torch.arange(len(features)) % 15
    for rows in torch.arange(len(features)).split(64):
        evaluator.process({"targets": identities[rows], "camids": cameras[rows]}, features[rows[0] : rows[-1] + 1])
    return evaluator.evaluate()


class Stopwatch:
    """Adds up the seconds of calls, to the end of what they started on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._device = device

    def time(self, function: Callable, *args):
        """Call ``function(*args)``, add what it took and return what it returned."""
        self._wait()
        start = time.perf_counter()
        result = function(*args)
        self._wait()
        self.seconds += time.perf_counter() - start
        return result

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


@contextmanager
def _timed_search(stopwatch: Stopwatch) -> Iterator[None]:
    """Time the nearest-neighbour search apart, in our function and in stock FastReID's, which have no place to ask."""
    make_index, search_ours = compute_dist.index_init_cpu, nearest_neighbors

    class TimedIndex:
        def __init__(self, width: int) -> None:
            self._index = make_index(width)

        def add(self, features: np.ndarray) -> None:
            stopwatch.time(self._index.add, features)

        def search(self, features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            return stopwatch.time(self._index.search, features, k)

    compute_dist.index_init_cpu = TimedIndex
    for module in (reranking, shared_search):
        module.nearest_neighbors = lambda *args: stopwatch.time(search_ours, *args)
    try:
        yield
    finally:
        compute_dist.index_init_cpu = make_index
        reranking.nearest_neighbors = shared_search.nearest_neighbors = search_ours


def _number(key: str, digits: int) -> Callable[[dict], str]:
    return lambda row: f"{row[key]:.{digits}f}" if key in row else ""


_COLUMNS = {
    "images": lambda row: row["images"],
    "queries": lambda row: row["queries"],
    "width": lambda row: row["width"],
    "what": lambda row: row["implementation"],
    "device": lambda row: row["device"],
    "search, s": _number("search_s", 2),
    "rest, s": _number("rest_s", 2),
    "whole, s": _number("total_s", 2),
    "rest, times faster": _number("rest_s_ratio", 1),
    "whole, times faster": _number("total_s_ratio", 1),
    "peak, GiB": _number("peak_gib", 2),
    "of it by the call": _number("grown_gib", 2),
    "that of stock's": _number("memory_ratio", 2),
    "largest difference": lambda row: f"{row['largest_difference']:.1e}" if "largest_difference" in row else "",
}
