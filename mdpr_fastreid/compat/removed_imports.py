"""Two imports that no longer exist, which keep FastReID's loaders and evaluation from being imported.

* ``from collections import Mapping`` (``data/build.py``, ``evaluation/testing.py``): gone since Python 3.10.
* ``from torch._six import string_classes`` (``data/build.py`` of the wheel; a checkout of the repository
  does not need it): gone since PyTorch 2.0.

The names are lent for the time of the toolbox's imports only, so that no other library finds a
``collections.Mapping`` where there is none. Can go when a release of FastReID imports on Python 3.10.
"""

import collections
import collections.abc
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

INSTALL_LINE = "pip install --no-deps fastreid==1.4.0"
_TOOLBOX = (
    "config",
    "utils",
    "layers",
    "data",
    "modeling",
    "solver",
    "evaluation",
    "engine",
)


def apply() -> None:
    """Import the toolbox, lending it the names it misses.

    Raises:
        ImportError: FastReID is not installed, or cannot be imported even so; the message has the line
            that installs it.
    """
    if importlib.util.find_spec("fastreid") is None:
        raise ImportError(
            f"mdpr_fastreid extends FastReID, which is not installed. Install it with\n    {INSTALL_LINE}"
        )
    try:
        with _lent_names():
            for package in _TOOLBOX:
                importlib.import_module(f"fastreid.{package}")
    except Exception as error:
        location = getattr(sys.modules.get("fastreid"), "__file__", None)
        raise ImportError(
            f"mdpr_fastreid extends FastReID, but the one at {location} cannot be imported "
            f"({type(error).__name__}: {error}). Install a working one, and what it needs, with\n"
            f"    {INSTALL_LINE}\n    pip install mdpr-fastreid"
        ) from error


@contextmanager
def _lent_names() -> Iterator[None]:
    lends_mapping = not hasattr(collections, "Mapping")
    lends_six = "torch._six" not in sys.modules and importlib.util.find_spec("torch._six") is None
    if lends_mapping:
        collections.Mapping = collections.abc.Mapping
    if lends_six:
        sys.modules["torch._six"] = ModuleType("torch._six")
        sys.modules["torch._six"].string_classes = (str, bytes)
    try:
        yield
    finally:
        if lends_mapping:
            del collections.Mapping
        if lends_six:
            del sys.modules["torch._six"]
