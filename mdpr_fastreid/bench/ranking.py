"""The evaluator on a very large gallery, shared by processes: seconds, and memory of each process."""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from fastreid.config import get_cfg
from fastreid.utils import comm

from mdpr_fastreid.bench import report
from mdpr_fastreid.bench.processes import in_new_process, resident_memory
from mdpr_fastreid.engine.launch import launch
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.evaluation import Evaluator

HELP = "the evaluator on a very large gallery, shared by processes"

_IMAGES_OF_AN_IDENTITY = 20
_CAMERAS = 15
_BATCH = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes, metric, processes and where the results go."""
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--gallery", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512, help="width of the features")
    parser.add_argument("--metric", choices=("cosine", "euclidean"), default="cosine")
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2], help="how many share it; a row for each number"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path("logs/bench"), help="folder of ranking.json and ranking.md, which grow"
    )


def run(args: argparse.Namespace) -> int:
    """Measure each number of processes, print the table and write it.

    Raises:
        UsageError: what cannot be measured, or does not fit into the memory.
    """
    if min(args.queries, args.gallery, args.dim, *args.processes) < 1 or args.seed < 0:
        raise UsageError("--queries, --gallery, --dim and --processes need 1 or more; --seed 0 or more")
    needed, there = (args.queries + args.gallery) * args.dim * 4 / 2**30, report.memory_gib()
    if needed > there:
        raise UsageError(
            f"--gallery: these features take {needed:,.0f} GiB, and this machine has {there:.0f}; give fewer"
        )
    rows = []
    for processes in args.processes:
        print(f"{args.queries} queries, {args.gallery} gallery images: {processes} processes ...", flush=True)
        rows.append(in_new_process(_measure, processes, args))
    about = {"features": f"{args.dim} wide, {_IMAGES_OF_AN_IDENTITY} images of an identity, {args.metric} distance"}
    print(report.add_run("ranking", rows, _COLUMNS, args.output, about))
    return 0


def _measure(processes: int, args: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        launch(_evaluate, processes, args=(args, Path(folder)))
        results = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(processes)]
    return results[0] | {
        "processes": processes,
        "peak_gib": [result["peak_gib"] for result in results],
        "seconds": max(result["seconds"] for result in results),
    }


def _evaluate(args: argparse.Namespace, folder: Path) -> None:
    """The work of one process: its share of the images goes into the evaluator a batch at a time, as in inference."""
    cfg = get_cfg()
    cfg.TEST.METRIC = args.metric
    evaluator = Evaluator(cfg, args.queries)
    total, processes, rank = args.queries + args.gallery, comm.get_world_size(), comm.get_rank()
    share = (total - 1) // processes + 1
    for images in _batches(range(share * rank, min(share * (rank + 1), total))):
        identities, features = _features(images, args)
        evaluator.process({"targets": identities, "camids": torch.from_numpy(images % _CAMERAS)}, features)
    before = resident_memory("VmRSS")
    comm.synchronize()
    start = time.perf_counter()
    metrics = evaluator.evaluate()
    measured = {
        "queries": args.queries,
        "gallery": args.gallery,
        "seconds": time.perf_counter() - start,
        "threads": torch.get_num_threads(),
        "before_gib": before,
        "peak_gib": resident_memory("VmHWM"),
        "metrics": {name: float(value) for name, value in metrics.items()},
    }
    (folder / f"{rank}.json").write_text(json.dumps(measured))


def _batches(images: range) -> Iterator[np.ndarray]:
    for start in range(images.start, images.stop, _BATCH):
        yield np.arange(start, min(start + _BATCH, images.stop))


def _features(images: np.ndarray, args: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Identities and features of images by their numbers, queries first: clusters, the same in whatever process."""
    in_gallery = np.where(images < args.queries, images * (args.gallery // args.queries or 1), images - args.queries)
    identities = in_gallery % args.gallery // _IMAGES_OF_AN_IDENTITY
    names, places = np.unique(identities, return_inverse=True)
    centres = np.stack([_drawn((args.seed, 0, name), args.dim) for name in names])
    features = centres[places] + 2 * np.stack([_drawn((args.seed, 1, image), args.dim) for image in images])
    return torch.from_numpy(identities), torch.from_numpy(features)


def _drawn(seed: tuple[int, ...], width: int) -> np.ndarray:
    return np.random.default_rng([int(part) for part in seed]).standard_normal(width, dtype=np.float32)


_COLUMNS = {
    "queries": lambda row: f"{row['queries']:,}",
    "gallery": lambda row: f"{row['gallery']:,}",
    "processes": lambda row: row["processes"],
    "threads of each": lambda row: row["threads"],
    "seconds": lambda row: f"{row['seconds']:.1f}",
    "most memory of each, GiB": lambda row: ", ".join(f"{peak:.2f}" for peak in row["peak_gib"]),
    "Rank-1": lambda row: f"{row['metrics']['Rank-1']:.2f}",
    "mAP": lambda row: f"{row['metrics']['mAP']:.4f}",
}
