"""``mdpr bench <name>``: measure a part of the plugin against what it replaces."""

import argparse
import importlib

HELP = "measure a part of the plugin against what it replaces"

BENCHMARKS = ("backbones", "embed", "infer", "loader", "ranking", "rerank", "search", "train")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command a module of :mod:`mdpr_fastreid.bench`, which is built as a verb is."""
    benchmarks = parser.add_subparsers(dest="benchmark", metavar="<benchmark>", required=True)
    for name in BENCHMARKS:
        module = importlib.import_module(f"mdpr_fastreid.bench.{name}")
        benchmark = benchmarks.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(benchmark)
        benchmark.set_defaults(run_benchmark=module.run)


def run(args: argparse.Namespace) -> int:
    """Run the benchmark the words name."""
    from mdpr_fastreid.bench import report

    for name in (args.benchmark, f"{args.benchmark}_components"):
        report.need_places(name, args.output)  # after the measurement it would be too late to complain
    return args.run_benchmark(args)
