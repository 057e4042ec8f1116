"""Imports of FastReID's, fixed while Python reads the modules that have them.

* ``from collections import Mapping``: gone since Python 3.10.
* ``from torch._six import string_classes`` (the wheel; a checkout does not need it): gone since PyTorch 2.0.
* ``from sklearn import metrics``: works, but is a quarter of the time in which every process starts, and what it is
  for, the curve of ``TEST.ROC.ENABLED``, few ask for. It is imported when the curve is drawn.

No other library ever sees a ``collections.Mapping`` or a ``torch._six``. Can go when a release of FastReID imports.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from multiprocessing.reduction import ForkingPickler
from types import CodeType, ModuleType

INSTALL_LINE = "pip install --no-deps fastreid==1.4.0"

_SKLEARN_ON_FIRST_USE = {
    "from sklearn import metrics": f"from {__name__} import OnFirstUse; metrics = OnFirstUse('sklearn.metrics')"
}

# What stays on its line keeps the line numbers of tracebacks
FIXED_LINES = {
    "fastreid.data.build": {
        "from collections import Mapping": "from collections.abc import Mapping",
        "from torch._six import string_classes": "string_classes = (str, bytes)",
    },
    "fastreid.evaluation.testing": {
        "from collections import Mapping, OrderedDict": (
            "from collections import OrderedDict; from collections.abc import Mapping"
        ),
    },
    "fastreid.evaluation.reid_evaluation": _SKLEARN_ON_FIRST_USE,
    "fastreid.utils.visualizer": _SKLEARN_ON_FIRST_USE,
}


def apply() -> None:
    """Make FastReID importable, and import it.

    Raises:
        ImportError: FastReID is not installed, or cannot be imported even so; the message has the line that installs
            it.
    """
    if importlib.util.find_spec("fastreid") is None:
        raise ImportError(
            f"mdpr_fastreid extends FastReID, which is not installed. Install it with\n    {INSTALL_LINE}"
        )
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    try:
        importlib.import_module("fastreid.engine")  # which imports everything else
    except Exception as error:
        location = getattr(sys.modules.get("fastreid"), "__file__", None)
        raise ImportError(
            f"mdpr_fastreid extends FastReID, but the one at {location} cannot be imported "
            f"({type(error).__name__}: {error}). Install a working one, and what it needs, with\n"
            f"    {INSTALL_LINE}\n    pip install mdpr-fastreid"
        ) from error
    _import_us_in_spawned_workers()


class OnFirstUse(ModuleType):
    """Stands for a module that is imported when something of it is asked for: ``OnFirstUse("sklearn.metrics")``."""

    def __getattr__(self, name: str) -> object:
        return getattr(importlib.import_module(self.__name__), name)


class _Finder(MetaPathFinder):
    """Finds the modules of ``FIXED_LINES``, and leaves all others to Python."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in FIXED_LINES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        # Not by way of Python's cache of compiled files, where others would find the changed module
        source = self.get_source(fullname)
        fixes = FIXED_LINES[fullname]
        lines = [fixes.get(line.rstrip(), line) for line in source.split("\n")]
        return compile("\n".join(lines), self.path, "exec", dont_inherit=True)


def _import_us_in_spawned_workers() -> None:
    """Let a spawned worker of a stock loader import this package before anything of FastReID's.

    It unpickles its data set first, which names FastReID's class. Where the parent has no script to import again
    (``python -c``, a notebook), nothing else would make FastReID importable there.
    """
    from fastreid.data.common import CommDataset

    ForkingPickler.register(CommDataset, _reduced)


def _reduced(dataset) -> tuple:
    return _rebuilt, (vars(dataset),)


def _rebuilt(attributes: dict):
    from fastreid.data.common import CommDataset

    dataset = CommDataset.__new__(CommDataset)
    vars(dataset).update(attributes)
    return dataset
