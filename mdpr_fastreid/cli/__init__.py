"""``mdpr <verb>``: one module a verb, with ``HELP``, ``add_arguments(parser)`` and ``run(args) -> int``."""

import argparse
import importlib
import sys

from mdpr_fastreid import __version__
from mdpr_fastreid.errors import UsageError, disk_is_full

VERBS = ("data", "synth", "convert", "prepare", "bench", "compare", "export", "run", "doctor")


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``mdpr``, with every verb."""
    parser = argparse.ArgumentParser(prog="mdpr", description="MDPR for FastReID: tools around train_net.py.")
    parser.add_argument("--version", action="version", version=f"mdpr-fastreid {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="<verb>", required=True)
    for name in VERBS:
        module = importlib.import_module(f"{__name__}.{name}")
        verb = verbs.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: the words after ``mdpr``; those of the process by default.

    Returns:
        The exit code: 0 when it worked, 1 when it did not, 2 for a mistake on the command line.
    """
    args = build_parser().parse_args(argv, argparse.Namespace(words=sys.argv[1:] if argv is None else argv))
    try:
        return args.run(args)
    except UsageError as error:
        print(f"mdpr {args.verb}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not disk_is_full(error):
            raise
        print(f"mdpr {args.verb}: {error}: make room, and run it again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"mdpr {args.verb}: interrupted", file=sys.stderr)
        return 130
