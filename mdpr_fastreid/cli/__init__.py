"""``mdpr <verb>``: one module a verb, with ``HELP``, ``add_arguments(parser)`` and ``run(args) -> int``."""

import argparse
import importlib
import sys

from mdpr_fastreid import __version__
from mdpr_fastreid.errors import UsageError, disk_is_full, one_line

VERBS = (
    "data",
    "synth",
    "convert",
    "prepare",
    "bench",
    "compare",
    "export",
    "embed",
    "index",
    "search",
    "attention",
    "ranklist",
    "space",
    "app",
    "run",
    "doctor",
)


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``mdpr``.

    Args:
        verb: the only one whose options are added, as what the others need takes seconds to import; None adds all.
    """
    parser = argparse.ArgumentParser(prog="mdpr", description="MDPR for FastReID: tools around train_net.py.")
    parser.add_argument("--version", action="version", version=f"mdpr-fastreid {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="<verb>", required=True)
    for name in VERBS:
        module = importlib.import_module(f"{__name__}.{name}")
        subparser = verbs.add_parser(name, help=module.HELP, description=module.HELP)
        if verb in (None, name):
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: the words after ``mdpr``; those of the process by default.

    Returns:
        The exit code: 0 when it worked, 1 when it did not, 2 for a mistake on the command line.
    """
    words = sys.argv[1:] if argv is None else argv
    if any("\0" in word for word in words):
        print("mdpr: an argument has a NUL character, which no name of a file has", file=sys.stderr)
        return 2
    verb = next((word for word in words if word in VERBS), "")
    args = build_parser(verb).parse_args(words, argparse.Namespace(words=words))
    try:
        return args.run(args)
    except UsageError as error:
        print(f"mdpr {args.verb}: {one_line(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        if not disk_is_full(error):
            raise
        print(f"mdpr {args.verb}: {error}: make room, and run it again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"mdpr {args.verb}: interrupted", file=sys.stderr)
        return 130
