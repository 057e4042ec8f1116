"""``mdpr compare``: train and evaluate methods under the same conditions, and show them side by side."""

import argparse
import functools
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from mdpr_fastreid.config.own_code import add_import_argument, import_modules
from mdpr_fastreid.errors import UsageError, printable, printable_lines

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
    parser.add_argument(
        "--jobs", type=_positive, metavar="J", help="runs at a time (default: 1; all of them with --launcher slurm)"
    )
    parser.add_argument(
        "--launcher",
        choices=("local", "slurm"),
        default="local",
        help="where runs are done: processes of this machine, or jobs of a Slurm cluster (default: local)",
    )
    parser.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE,...",
        help="options of sbatch for the jobs: partition=gpu,gpus=1,time=4:00:00",
    )
    parser.add_argument(
        "--resubmit",
        type=_positive,
        metavar="N",
        help="how often a run is submitted again whose job ended without a result (default: 10)",
    )
    parser.add_argument("--status", action="store_true", help="print the runs of --output with their jobs, and stop")
    parser.add_argument("--cancel", action="store_true", help="end the jobs of --output, and the command that waits")
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
    from mdpr_fastreid.compare import jobs, plan, report
    from mdpr_fastreid.compare.launchers.slurm import Slurm

    if args.status or args.cancel:
        print(printable_lines((jobs.cancel if args.cancel else jobs.status)(args.output, Slurm())))
        return 0
    make_launcher = _launcher(args)
    import_modules(args.imports)
    made = plan.make_plan(_request(args))
    print(printable_lines(plan.describe(made)), flush=True)
    if args.dry_run:
        return 0
    if args.report_only:
        return _print_outcome(report.write_all(made))
    return _do(made, make_launcher)


def _request(args: argparse.Namespace):
    from mdpr_fastreid.compare.ablations import GROUPS
    from mdpr_fastreid.compare.plan import Request
    from mdpr_fastreid.compare.provenance import without_home

    if args.ablation and args.methods is None:
        args.methods = ("mdpr",)
    return Request(
        **({"methods": args.methods} if args.methods else {}),
        ablations=tuple(GROUPS) if args.ablation == ("all",) else args.ablation or (),
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


def _do(plan, make_launcher: Callable) -> int:
    """Do the runs that are left, and report all of them."""
    from mdpr_fastreid.compare import launch, report
    from mdpr_fastreid.compare.launchers import CancelledError

    with launch.sole_user(plan.output):
        launcher = make_launcher(plan)
        left, notices = launch.prepare(plan)
        finished = f"{len(plan.runs) - len(left)} of {len(plan.runs)} runs are finished already"
        print(*map(printable, notices), finished, sep="\n", flush=True)
        # Here the report would take the cores of the runs
        on_ended = functools.partial(report.write_all, plan) if launcher.elsewhere else None
        try:
            launch.launch(plan, left, launcher, on_ended)
        except (KeyboardInterrupt, CancelledError) as ended:
            _print_outcome(report.write_all(plan))
            said = f"cancelled; {ended}" if isinstance(ended, CancelledError) else f"interrupted; {launcher.when_left}"
            print(f"{said}: {plan.command}", file=sys.stderr)
            return 130
        return _print_outcome(report.write_all(plan))


def _launcher(args: argparse.Namespace) -> Callable:
    """What makes the launcher of a plan, once the options, and the cluster they name, have been checked."""
    from mdpr_fastreid.compare import jobs
    from mdpr_fastreid.compare.launchers.local import Local
    from mdpr_fastreid.compare.launchers.slurm import Slurm, read_options
    from mdpr_fastreid.compare.launchers.submitted import Submitted, forget_cancelling

    def local(plan):
        jobs.refuse_jobs(plan.output)
        return Local(plan, args.jobs or 1)

    if args.launcher == "local":
        if args.slurm or args.resubmit:
            raise UsageError("--slurm and --resubmit are options of --launcher slurm")
        return local
    cluster = Slurm(read_options(args.slurm))
    if not args.report_only:
        cluster.check()

    def submitted(plan):
        jobs.refuse_changed(plan)
        forget_cancelling(plan.output)
        return Submitted(plan, cluster, args.jobs, args.resubmit or 10)

    return submitted


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
