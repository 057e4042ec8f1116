"""``mdpr synth``: render SynthReID, look at it, judge it."""

import argparse
import os
import re
from pathlib import Path

from mdpr_fastreid.data.synth import (
    DEFAULT_SIZE,
    KNOBS,
    PRESETS,
    RenderError,
    Request,
    adjusted,
    ensure,
    read_manifest,
    set_folder,
    write_previews,
)
from mdpr_fastreid.data.synth.judge import judge
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.progress import counted

HELP = "render the embedded data set SynthReID, preview it or judge it"


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no HxW, e.g. 256x128")
    height, width = int(found[1]), int(found[2])
    if not (32 <= height <= 1024 and 16 <= width <= 1024):
        raise argparse.ArgumentTypeError(f"{text}: height lies between 32 and 1024, width between 16 and 1024")
    return height, width


def _at_least(low: int):
    def number(text: str) -> int:
        if not text.isdigit() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} on")
        return int(text)

    return number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    default_root = os.getenv("FASTREID_DATASETS", "datasets")
    parser.add_argument("--preset", choices=PRESETS, help="which set")
    parser.add_argument(
        "--root", type=Path, default=Path(default_root), help="data root (default: $FASTREID_DATASETS or datasets)"
    )
    parser.add_argument(
        "--size", type=_size, default=DEFAULT_SIZE, metavar="HxW", help="size of the images (default: 128x64)"
    )
    parser.add_argument("--seed", type=_at_least(0), default=0, help="seed of everything (default: 0)")
    parser.add_argument(
        "--workers", type=_at_least(1), default=os.cpu_count() or 1, help="processes (default: one a core)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KNOB=VALUE",
        dest="settings",
        help=f"a difficulty: {', '.join(KNOBS)}",
    )
    parser.add_argument("--preview", action="store_true", help="write contact sheets only")
    parser.add_argument("--judge", type=Path, metavar="DIR", help="print the figures of a rendered set")


def run(args: argparse.Namespace) -> int:
    """Do what the options say; 0 when it worked, 1 when a judged set is not what its manifest says."""
    try:
        return _judge(args.judge) if args.judge else _render(args)
    except RenderError as error:
        raise UsageError(str(error)) from error


def _judge(folder: Path) -> int:
    spec = read_manifest(folder)["spec"]
    height, width = spec["size"]
    print(f"{folder}: {spec['preset']['name']}, seed {spec['seed']}, {height}x{width}, renderer {spec['renderer']}")
    for name, figure in judge(folder):
        print(f"{name:<68} {figure:>12}")
    return 0


def _request(args: argparse.Namespace) -> Request:
    if args.preset is None:
        raise UsageError(f"--preset is missing; there are {', '.join(PRESETS)}")
    settings = {}
    for setting in args.settings:
        knob, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: write KNOB=VALUE, e.g. occlusion=0.6")
        settings[knob] = value
    try:
        return Request(adjusted(PRESETS[args.preset], settings), args.seed, args.size)
    except ValueError as error:
        raise UsageError(f"--set: {error}") from error


def _render(args: argparse.Namespace) -> int:
    request = _request(args)
    folder = set_folder(args.root, request.preset.name)
    if args.preview:
        sheets = folder.with_name(f"{folder.name}-preview")
        try:
            print("\n".join(str(path) for path in write_previews(request, sheets)))
        except OSError as error:
            raise UsageError(f"cannot write {sheets}: {error.strerror}; choose another --root") from error
        return 0
    outcome = "verified" if folder.exists() else "rendered"
    progress = counted(f"rendering {folder.name}")
    ensure(args.root, request.preset, request.seed, request.size, args.workers, check=True, progress=progress)
    images = {name: entry["images"] for name, entry in read_manifest(folder)["splits"].items()}
    print(f"{folder}: {outcome}, " + ", ".join(f"{n} in {name}" for name, n in images.items()))
    return 0
