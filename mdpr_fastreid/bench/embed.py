"""``mdpr embed`` on a folder of JPEG files, against the network alone on tensors that are ready."""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mdpr_fastreid.bench import report
from mdpr_fastreid.bench.loader import render
from mdpr_fastreid.bench.networks import (
    add_network_arguments,
    check_network_arguments,
    image_size,
    network_config,
    title_of_backbone,
)
from mdpr_fastreid.bench.processes import resident_memory
from mdpr_fastreid.bench.rounds import REFERENCE, interleaved, speed, spread_cell, wait
from mdpr_fastreid.embedding.batches import default_workers
from mdpr_fastreid.embedding.chunks import Chunks, Share
from mdpr_fastreid.embedding.facts import find_images
from mdpr_fastreid.embedding.folder import embed_images
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.reid import ReID

HELP = "mdpr embed on a folder of JPEG files, against the network alone on tensors that are ready"

_METHODS = ("mdpr", "sbs", "mgn")
_RENDERED = 256
"""Pictures that differ; the others are copies under other names."""
_SECONDS_BETWEEN_SAMPLES = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Network, image files, threads, rounds, device and where the results go."""
    add_network_arguments(parser, _METHODS[:1], "embed")
    parser.add_argument("--images", type=int, default=5000, help="files in the folder")
    parser.add_argument(
        "--files", type=image_size, nargs="+", default=[(128, 64)], metavar="HxW", help="sizes of the image files"
    )
    parser.add_argument("--workers", type=int, help="threads that read (default: one a core, at most 4)")


def run(args: argparse.Namespace) -> int:
    """Time both in interleaved rounds, print the table and write it.

    Raises:
        UsageError: something asked for cannot be measured; the message says what to change.
    """
    args.workers = default_workers() if args.workers is None else args.workers
    if args.images < args.batch or args.workers < 0:
        raise UsageError("--images needs to be --batch or more, --workers 0 or more")
    if args.against != REFERENCE or args.components or any(name not in _METHODS for name in args.methods):
        raise UsageError(f"--methods of this benchmark: {', '.join(_METHODS)}; it has no --against and no --components")
    check_network_arguments(args)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size, images in _folders(args, Path(folder)):
            for method in args.methods:
                rows.append(_row(args, method, size, images, Path(folder)))
    about = {"network": f"{title_of_backbone(args)}, {args.size[0]}x{args.size[1]} in batches of {args.batch}"}
    print(report.add_run("embed", rows, _COLUMNS, args.output, about | {"threads that read": args.workers}))
    return 0


def _folders(args: argparse.Namespace, folder: Path) -> Iterator[tuple[tuple[int, int], Path]]:
    """A folder of ``--images`` files for each size: rendered ones, and copies of them."""
    few = argparse.Namespace(files=args.files, images=min(_RENDERED, args.images), seed=args.seed)
    for source in render(few, folder / "rendered"):
        place = folder / f"files-{source.size[0]}x{source.size[1]}"
        place.mkdir()
        contents = [Path(path).read_bytes() for path, *_ in source.items]
        for number in range(args.images):
            (place / f"{number:06d}.jpg").write_bytes(contents[number % len(contents)])
        yield source.size, place


def _row(args: argparse.Namespace, method: str, size: tuple[int, int], images: Path, folder: Path) -> dict:
    model = _model(args, method, folder)
    found = find_images(images)
    ready = torch.randint(0, 256, (args.batch, 3, *args.size), dtype=torch.uint8)
    batches = args.images // args.batch
    samples: list[tuple[float, float]] = []

    def network_alone() -> None:
        for _ in range(batches):
            model.network(ready)

    def from_files() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as place, _memory_sampled(samples):
            chunks = Chunks(Path(place), found.rows(slice(batches * args.batch)), model.about, args.batch)
            chunks.start(Share())
            embed_images(model.network, found, chunks, args.batch, args.workers, Share())
        wait(args.device)

    seconds = interleaved({REFERENCE: network_alone, "embed": from_files}, args.repeats, args.device)
    count = batches * args.batch
    row = {"files": list(size), "method": method, "images": count, "dim": model.dim, "seconds": seconds["embed"]}
    row |= speed(seconds["embed"], seconds[REFERENCE], count)
    row["network_alone"] = speed(seconds[REFERENCE], seconds[REFERENCE], count)["images_per_second"]
    row["memory_growth_mib"] = _growth(samples) * 1024
    return row


def _model(args: argparse.Namespace, method: str, folder: Path) -> ReID:
    cfg = network_config(method, args)
    torch.manual_seed(args.seed)
    weights = folder / f"{method}.pth"
    torch.save({"model": build_model(cfg).state_dict()}, weights)
    return ReID.load(cfg, weights, device=args.device)


@contextmanager
def _memory_sampled(samples: list[tuple[float, float]]) -> Iterator[None]:
    """Append (share of a run that was over, resident GiB) while the body runs; the list is emptied first."""
    samples.clear()
    if os.name == "nt" or not Path("/proc/self/status").exists():
        yield
        return
    taken: list[tuple[float, float]] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(_SECONDS_BETWEEN_SAMPLES):
            taken.append((time.perf_counter(), resident_memory("VmRSS")))

    start = time.perf_counter()
    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    whole = time.perf_counter() - start
    samples.extend(((moment - start) / whole, memory) for moment, memory in taken)


def _growth(samples: list[tuple[float, float]]) -> float:
    """GiB by which the last third's largest sample exceeds that of the second third; 0 without samples."""
    middle = [memory for share, memory in samples if 1 / 3 <= share < 2 / 3]
    last = [memory for share, memory in samples if share >= 2 / 3]
    return max(last) - max(middle) if middle and last else 0.0


_COLUMNS: dict[str, Callable[[dict], str]] = {
    "files": lambda row: "x".join(map(str, row["files"])),
    "method": lambda row: row["method"],
    "images": lambda row: row["images"],
    "network alone, images a second": lambda row: f"{row['network_alone']['median']:.1f}",
    "from files, images a second": lambda row: f"{row['images_per_second']['median']:.1f}",
    "share of the network's own speed, median (min - max)": lambda row: spread_cell(row["ratio"]),
    "memory, last third over second, MiB": lambda row: f"{row['memory_growth_mib']:+.1f}",
}
