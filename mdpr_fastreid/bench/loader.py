"""The input pipeline alone, from image files to batches, against stock FastReID's."""

import argparse
import functools
import hashlib
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from fastreid.config import CfgNode, get_cfg
from fastreid.data.data_utils import read_image as stock_read_image
from torch.utils.data import DataLoader, SequentialSampler

from mdpr_fastreid.bench import report
from mdpr_fastreid.bench.networks import image_size
from mdpr_fastreid.bench.rounds import REFERENCE, interleaved, speed, spread_cell, wait
from mdpr_fastreid.bench.stock_loader import stock_loader
from mdpr_fastreid.config import config_file
from mdpr_fastreid.data import build_train_loader, training_set
from mdpr_fastreid.data.pipeline import FieldDataset
from mdpr_fastreid.data.reading import read_image
from mdpr_fastreid.data.synth import Request
from mdpr_fastreid.data.synth.plan import plan
from mdpr_fastreid.data.synth.presets import PRESETS
from mdpr_fastreid.data.synth.writer import encode, pictures
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.progress import Progress

HELP = "the input pipeline alone, from image files to batches, against stock FastReID's"

SETTINGS = {
    REFERENCE: "FastReID's own reading, transforms and collator",
    "ours": "the pipeline as it is by default",
    "cached": "with DATALOADER.CACHE, from the second epoch on",
}

_STEPS = {
    "Resize": "resize",
    "Pad": "pad",
    "RandomCrop": "crop",
    "_Crop": "crop",
    "RandomHorizontalFlip": "flip",
    "StockToTensor": "to tensor",
    "ToBytes": "to tensor",
    "RandomErasing": "random erasing",
    "Erasing": "random erasing",
    "PackErased": "random erasing",
    "RandomPatch": "random patch",
    "Patching": "random patch",
}
"""What the transforms of the packaged configurations, stock's and ours, are called in the table."""


class Source(NamedTuple):
    """Image files of one size: items as FastReID's data sets have them."""

    size: tuple[int, int]
    items: list[tuple[str, str, str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Images, workers, rounds, device and where the results go."""
    parser.add_argument("--size", type=image_size, default=(384, 192), metavar="HxW", help="of the images in a batch")
    parser.add_argument(
        "--files",
        type=image_size,
        nargs="+",
        default=[(128, 64), (256, 128)],
        metavar="HxW",
        help="sizes of the image files: Market-1501's are 128x64, those of other data sets are larger and vary",
    )
    parser.add_argument("--batch", type=int, default=64, help="images in a batch")
    parser.add_argument("--images", type=int, default=256, help="images that are read in each round")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="numbers of DATALOADER.NUM_WORKERS")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; in each, every setting has its turn")
    parser.add_argument("--device", default="cpu", help="where the batches go: cpu or cuda")
    parser.add_argument("--components", action="store_true", help="instead: where the time of one core goes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="of the config, such as INPUT.CJ.ENABLED True"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("logs/bench"), help="folder of loader.json and loader.md, which grow"
    )


def run(args: argparse.Namespace) -> int:
    """Time all settings in interleaved rounds, print the table and write it.

    Raises:
        UsageError: something asked for cannot be measured; the message says what to change.
    """
    _check(args)
    threads = torch.get_num_threads()
    about = {"images": f"{args.images} of SynthReID, {args.size[0]}x{args.size[1]} in batches of {args.batch}"}
    try:
        torch.set_num_threads(1)  # as in a loader's worker
        with tempfile.TemporaryDirectory() as folder:
            sources = render(args, Path(folder))
            if args.components:
                rows = [row for source in sources for row in _component_rows(source, args)]
                print(report.add_run("loader_components", rows, _component_columns(), args.output, about))
            else:
                rows = [row for source in sources for row in _rows(source, args)]
                print(report.add_run("loader", rows, _COLUMNS, args.output, about))
    finally:
        torch.set_num_threads(threads)
    return 0


def render(args: argparse.Namespace, folder: Path) -> list[Source]:
    """SynthReID's first training images at each size of ``--files``, as JPEG files in ``folder``."""
    preset = PRESETS["demo"]
    progress = Progress(len(args.files) * args.images, "rendering")
    sources = []
    for size in args.files:
        source = Source(size, [])
        request = Request(preset, args.seed, size)
        numbered = (
            (job.index, camera, *rendered)
            for job in plan(preset, args.seed)
            for camera, rendered in zip(job.cameras, pictures(request, job), strict=True)
        )
        for _, (identity, camera, name, quality, picture) in zip(range(args.images), numbered, strict=False):
            path = folder / f"{size[0]}x{size[1]}" / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(picture, quality)[0])
            source.items.append((str(path), f"synth_{identity}", f"synth_c{camera}"))
            progress.step()
        sources.append(source)
    progress.close()
    return sources


def build(source: Source, setting: str, workers: int, args: argparse.Namespace) -> DataLoader:
    """The training loader of a setting, which reads every image once, in order."""
    cfg = _config(workers, args)
    if setting == REFERENCE:
        return stock_loader(cfg, source.items)
    if setting == "cached":
        cfg.DATALOADER.CACHE = str(Path(source.items[0][0]).parent)
    dataset = training_set(cfg, source.items)
    return build_train_loader(cfg, train_set=dataset, sampler=SequentialSampler(dataset))


def _check(args: argparse.Namespace) -> None:
    if min(args.images, args.batch, args.repeats) < 1 or min(args.workers) < 0:
        raise UsageError("--images, --batch and --repeats need to be 1 or more, --workers 0 or more")
    if args.images % args.batch:
        raise UsageError(f"--images {args.images} is no multiple of --batch {args.batch}, and stock drops the rest")
    if torch.device(args.device).type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device {args.device}: there is no GPU here")


def _config(workers: int, args: argparse.Namespace) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_file(config_file("MDPR/duke_r50.yml"))
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", args.device, "INPUT.SIZE_TRAIN", list(args.size), "SOLVER.IMS_PER_BATCH", args.batch),
            *("DATALOADER.NUM_WORKERS", workers, *args.opts),
        ]
    )
    return cfg


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _rows(source: Source, args: argparse.Namespace) -> list[dict]:
    rows = []
    for workers in args.workers:
        loaders = {setting: build(source, setting, workers, args) for setting in SETTINGS}
        digests = {setting: _digest(loader, args) for setting, loader in loaders.items()}
        for loader in loaders.values():
            _settle(loader)
        cpu: dict[str, list[float]] = defaultdict(list)
        runs = {
            setting: functools.partial(_timed_epoch, loader, cpu[setting], args) for setting, loader in loaders.items()
        }
        seconds = interleaved(runs, args.repeats, args.device)
        for setting in SETTINGS:
            of_cores, reference = cpu[setting][-args.repeats :], cpu[REFERENCE][-args.repeats :]
            row = {"files": list(source.size), "workers": workers, "setting": setting, "seconds": seconds[setting]}
            row |= speed(seconds[setting], seconds[REFERENCE], args.images)
            row["a_core"] = speed(of_cores, reference, args.images)
            row["core_milliseconds"] = statistics.median(of_cores) / args.images * 1e3
            row["same_images"] = digests[setting] == digests[REFERENCE]
            rows.append(row)
    return rows


def _digest(loader: DataLoader, args: argparse.Namespace) -> str:
    """A hash of all images of an epoch from the seed."""
    _seed(args.seed)
    hashed = hashlib.sha256()
    for batch in loader:
        hashed.update(batch["images"].cpu().numpy())
    return hashed.hexdigest()


def _settle(loader: DataLoader) -> None:
    """Read every image outside the workers, so that the pool of random patch and the cache are as amid a training."""
    for index in range(len(loader.dataset)):
        loader.dataset[index]


def _timed_epoch(loader: DataLoader, cpu: list[float], args: argparse.Namespace) -> None:
    """Read every image once; the time that all cores spent on it is added to ``cpu``."""
    start = _core_seconds()
    for batch in loader:
        _touch(batch["images"])
    del batch
    wait(args.device)
    cpu.append(_core_seconds() - start)


def _touch(images: torch.Tensor) -> None:
    """Read from every page of memory, as whatever takes the batch next would."""
    images.view(-1)[:: _PAGE // images.element_size()].sum()


def _core_seconds() -> float:
    # Of this process and of its workers, which have ended when a loader is through
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system


def _component_rows(source: Source, args: argparse.Namespace) -> list[dict]:
    loaders = {setting: build(source, setting, 1, args) for setting in SETTINGS}
    for loader in loaders.values():
        _settle(loader)
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    progress = Progress((args.repeats + 1) * len(loaders), "measuring")
    for round_number in range(args.repeats + 1):
        for setting, loader in loaders.items():
            spent = _spent(loader, args)
            for component, seconds in spent.items():
                if round_number:
                    times[setting, component].append(seconds / args.images * 1e3)
            progress.step()
    progress.close()
    components = list(dict.fromkeys(component for _, component in times))
    rows = []
    for component in [*components, "sum"]:
        row = {"files": list(source.size), "component": component}
        for setting in SETTINGS:
            of_setting = {
                name: statistics.median(values) for (whose, name), values in times.items() if whose == setting
            }
            total = sum(of_setting.values())
            row[setting] = total if component == "sum" else of_setting.get(component, 0.0)
            row[f"{setting}_share"] = row[setting] / total
        rows.append(row)
    return rows


def _spent(loader: DataLoader, args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a core that each step takes for all images."""
    spent: dict[str, float] = defaultdict(float)

    def step(name: str, compute: Callable, *arguments: object) -> object:
        start = _core_seconds()
        result = compute(*arguments)
        spent[name] += _core_seconds() - start
        return result

    dataset, made = loader.dataset, []
    ours = isinstance(dataset, FieldDataset)
    for index, (path, *_) in enumerate(dataset.img_items):
        if ours and dataset.resized is not None:
            image = step("read the resized", dataset.resized.picture, index, path, None)
        else:
            step("read the file", _file_content, path)
            image = step("decode", read_image if ours else stock_read_image, path)
        sample = {"images": image}
        for transform in dataset.transform.transforms:
            name = step_name(transform)
            if ours:
                step(name, transform, sample)
            else:
                sample["images"] = step(name, transform, sample["images"])
        made.append({**sample, "targets": index})
    if "decode" in spent:  # reading the file once more costs as much as the reading within the decoding did
        spent["decode"] -= spent["read the file"]
    for first in range(0, len(made), args.batch):
        step("collate", loader.collate_fn, made[first : first + args.batch])
        if ours:
            step("to floats", dataset.to_floats, loader.collate_fn(made[first : first + args.batch]))
    step("hand over", _hand_over, made, loader)
    spent["hand over"] -= spent["collate"]
    return spent


def step_name(transform: object) -> str:
    """What a transform is called in the table; ours may have one of torchvision's in it."""
    name = type(getattr(transform, "transform", transform)).__name__
    return _STEPS.get(name, name)


def _hand_over(made: list[dict], loader: DataLoader) -> None:
    """Take finished images from a worker, in batches."""
    batches = DataLoader(made, loader.batch_sampler.batch_size, num_workers=1, collate_fn=loader.collate_fn)
    for batch in batches:
        _touch(batch["images"])


def _file_content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


_PAGE = 4096

_COLUMNS = {
    "files": lambda row: "x".join(map(str, row["files"])),
    "workers": lambda row: row["workers"],
    "setting": lambda row: row["setting"],
    "images a second": lambda row: f"{row['images_per_second']['median']:.0f}",
    "times reference, median (min - max)": lambda row: spread_cell(row["ratio"]),
    "images a second and core": lambda row: f"{row['a_core']['images_per_second']['median']:.0f}",
    "times reference, a core": lambda row: spread_cell(row["a_core"]["ratio"]),
    "cores for 1,000 images a second": lambda row: f"{row['core_milliseconds']:.1f}",
    "same images": lambda row: "yes" if row["same_images"] else "no",
}


def _component_columns() -> dict[str, Callable[[dict], str]]:
    columns = {"files": lambda row: "x".join(map(str, row["files"])), "component": lambda row: row["component"]}
    for setting in SETTINGS:
        columns[f"{setting}, ms an image"] = lambda row, setting=setting: f"{row[setting]:.3f}"
        columns[f"{setting}, share"] = lambda row, setting=setting: f"{row[f'{setting}_share']:.0%}"
    return columns
