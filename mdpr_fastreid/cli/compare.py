"""``mdpr compare``: train and evaluate methods under the same conditions, and show them side by side."""

import argparse
import re
import shlex
import sys
from pathlib import Path

from mdpr_fastreid.config.own_code import add_import_argument, import_modules
from mdpr_fastreid.errors import printable, printable_lines

HELP = "train methods under the same conditions, and show them side by side"

_DESCRIPTION = f"""{HELP}. Every method with every seed is a run of its own, which resumes and is not repeated once
finished: the same command goes on where it was interrupted. KEY VALUE pairs hold for all runs."""

_LARGEST_SEED = 2**31 - 1  # NumPy takes 32 bits; each process adds its rank


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.description = _DESCRIPTION
    parser.add_argument("--data", metavar="NAME", help="data set to train and evaluate on (as in DATASETS.NAMES)")
    parser.add_argument(
        "--methods",
        type=_names,
        metavar="LIST",
        help="of mdpr, sbs, mgn, agw, bot, config files and TITLE=FILE, with commas between; the first is the one from "
        "which differences are taken (default: all five)",
    )
    parser.add_argument(
        "--ablation",
        nargs="?",
        const="all",
        type=_names,
        metavar="GROUPS",
        help="ablate MDPR instead: maps, guidance, losses, stripes, teaching, branches, features (default: all)",
    )
    parser.add_argument("--backbone", metavar="NAME", help="backbone of every method, e.g. r18, r50, r50-ibn, osnet")
    parser.add_argument("--size", type=_size, metavar="HxW", help="size of the input, e.g. 256x128")
    parser.add_argument("--epochs", type=_positive, metavar="N", help="length of every run; the schedule follows")
    parser.add_argument("--batch", type=_positive, metavar="B", help="images a batch")
    parser.add_argument("--seeds", type=_seeds, default=(0,), metavar="LIST", help="e.g. 0,1,2 (default: 0)")
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=LIST",
        help="values of a setting, each a row of every method: SOLVER.BASE_LR=1e-4,3.5e-4; several --grid give every "
        "combination",
    )
    parser.add_argument(
        "--shared",
        default="Base-MDPR.yml",
        metavar="FILE",
        help="config whose data, input, sampler, schedule and backbone all runs share (default: Base-MDPR.yml)",
    )
    add_import_argument(parser)
    parser.add_argument(
        "--output", type=Path, default=Path("logs/compare"), metavar="DIR", help="where everything goes"
    )
    parser.add_argument("--jobs", type=_positive, default=1, metavar="J", help="runs at a time (default: 1)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--report-only", action="store_true", help="train nothing: report the runs that are finished")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY VALUE", help="settings of all runs, e.g. DATALOADER.NUM_INSTANCE 4"
    )


def run(args: argparse.Namespace) -> int:
    """Do what the options say.

    Returns:
        0 when every run is finished, 1 when one failed, 130 when interrupted.
    """
    # Argparse needs none of these, and they take seconds to import
    from mdpr_fastreid.compare import launch, plan, report
    from mdpr_fastreid.compare.ablations import GROUPS
    from mdpr_fastreid.compare.provenance import without_home

    import_modules(args.imports)
    if args.ablation and args.methods is None:
        args.methods = ("mdpr",)
    groups = tuple(GROUPS) if args.ablation == ("all",) else args.ablation or ()
    request = plan.Request(
        **({"methods": args.methods} if args.methods else {}),
        ablations=groups,
        shared=args.shared,
        data=args.data,
        backbone=args.backbone,
        size=args.size,
        epochs=args.epochs,
        batch=args.batch,
        seeds=args.seeds,
        grid=tuple(args.grid),
        overrides=tuple(args.overrides),
        imports=tuple(args.imports),
        output=args.output,
        command=without_home(f"mdpr {shlex.join(word for word in args.words if word != '--report-only')}"),
    )
    made = plan.make_plan(request)
    print(printable_lines(plan.describe(made)), flush=True)
    if args.dry_run:
        return 0
    if args.report_only:
        return _print_outcome(report.write_all(made))
    with launch.sole_user(made.output):
        left, notices = launch.prepare(made)
        print(
            *map(printable, notices),
            f"{len(made.runs) - len(left)} of {len(made.runs)} runs are finished already",
            sep="\n",
        )
        try:
            launch.launch(made, left, args.jobs)
        except KeyboardInterrupt:
            _print_outcome(report.write_all(made))
            print(f"interrupted; the same command goes on from the last checkpoints: {made.command}", file=sys.stderr)
            return 130
        return _print_outcome(report.write_all(made))


def _print_outcome(outcome) -> int:
    print(printable_lines(outcome.text))
    for path in outcome.files:
        print(f"wrote {path}")
    return 1 if outcome.failed else 0


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("an empty list")
    return names


def _seeds(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    seeds = tuple(int(word) for word in words if word.isdecimal())
    if not words or len(set(seeds)) != len(words) or max(seeds) > _LARGEST_SEED:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of different whole numbers from 0 to {_LARGEST_SEED}, e.g. 0,1,2"
        )
    return seeds


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or min(int(found[1]), int(found[2])) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no HxW (height first), e.g. 256x128")
    return int(found[1]), int(found[2])
