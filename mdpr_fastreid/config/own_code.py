"""Code of the user's own, which registers what a config names: the option ``--import``."""

import argparse
import contextlib
import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from mdpr_fastreid.config.names import UnknownNameError
from mdpr_fastreid.errors import UsageError

HOW_TO_IMPORT = "code of your own that registers it is imported with --import MODULE"


def add_import_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--import MODULE``, for :func:`import_modules` in ``args.imports``."""
    parser.add_argument(
        "--import",
        action="append",
        default=[],
        metavar="MODULE",
        dest="imports",
        help="Python module that registers what your configs name (may be repeated)",
    )


def import_modules(names: Iterable[str], option: str = "--import") -> list[ModuleType]:
    """Import modules, from the present folder too.

    Args:
        names: of the modules.
        option: what they were given by, for an error.

    Raises:
        UsageError: one is not found, or imports what is not found.
    """
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # where `python -m` looks too
    modules = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except ModuleNotFoundError as error:
            raise UsageError(f"{option} {name}: {error}; it is looked for in {Path.cwd()} and PYTHONPATH") from error
    return modules


@contextlib.contextmanager
def hinting_at_import() -> Iterator[None]:
    """Say how to import the code that registers a name, where an error inside is about one that nobody has registered.

    Raises:
        UsageError: in the place of the ``UnknownNameError``.
    """
    try:
        yield
    except UnknownNameError as error:
        raise UsageError(f"{error}; {HOW_TO_IMPORT}") from error
