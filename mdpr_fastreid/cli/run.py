"""``mdpr run``: unmodified scripts of FastReID's, on a FastReID that works."""

import argparse
import os
import runpy
import sys
from pathlib import Path

from mdpr_fastreid.errors import UsageError

PATH = "MDPR_FASTREID_SCRIPT"
"""The environment variable that names the script, for its child processes too."""

HELP = "run a script of FastReID's as it is: mdpr run tools/train_net.py --config-file ..."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The script, and everything after it."""
    parser.add_argument("script", help="path of a Python file, e.g. FastReID's tools/train_net.py")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own arguments")


def run(args: argparse.Namespace) -> int:
    """Run the script as ``python SCRIPT ARGUMENTS`` would, with FastReID patched in it and in its child processes."""
    script = Path(args.script)
    if not script.is_file():
        raise UsageError(f"{script}: no such script")
    os.environ[PATH] = str(script.absolute())
    sys.argv = [str(script), *args.arguments]
    sys.path[0] = str(script.absolute().parent)
    runpy.run_module("mdpr_fastreid.script", run_name="__main__", alter_sys=True)
    return 0
