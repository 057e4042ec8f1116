"""``mdpr ranklist``: what a trained model ranks first for its worst and best queries, as pictures."""

import argparse
from pathlib import Path

from mdpr_fastreid.cli.model_options import add_overrides, add_training_arguments, count
from mdpr_fastreid.errors import UsageError, printable

HELP = "draw the rank lists of the queries that a trained model answers worst, or best"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_training_arguments(parser)
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--worst", type=count, default=10, metavar="N", help="queries of lowest average precision")
    parser.add_argument("--best", type=count, default=0, metavar="N", help="queries of highest average precision")
    parser.add_argument("--top", type=count, default=10, metavar="K", help="ranks that are shown of each query")
    parser.add_argument("--force", action="store_true", help="replace DIR if this command wrote it")
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, choose, draw."""
    from mdpr_fastreid.pictures.rank_pages import INDEX, choose, need_folder, write_pages
    from mdpr_fastreid.pictures.trained import evaluated, load_trained
    from mdpr_fastreid.weights import sha256_of

    if not args.worst + args.best:
        raise UsageError("there is nothing to draw: give --worst or --best a number")
    if not 1 <= args.top <= 50:
        raise UsageError(f"--top {args.top}: give a number from 1 to 50")
    need_folder(args.output, args.force)
    cfg, model = load_trained(args)
    found = evaluated(cfg, model)
    measured = found.evaluator.measure(found.collected)
    chosen = choose(found, measured, args.worst, args.best, args.top)
    metrics = {name: float(value) for name, value in measured.metrics.items()}
    about = {
        "data_set": found.data_set,
        "config": args.config_file,
        "weights": cfg.MODEL.WEIGHTS,
        "weights_sha256": sha256_of(cfg.MODEL.WEIGHTS),
        "metrics": metrics,
    }
    write_pages(args.output, chosen, about)
    print(f"{found.data_set}: mAP {metrics['mAP']:.1f}, Rank-1 {metrics['Rank-1']:.1f}")
    print(f"wrote {printable(str(args.output / INDEX))}: {len(chosen)} queries")
    return 0
