"""What training on a CPU frees stays with the process, ready for its next step."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt(3)``."""
_NEVER = -1
_KEPT = 2**30
_DEFAULTS = {_TRIM_THRESHOLD: 64 * 2**20, _MMAP_THRESHOLD: 32 * 2**20}
"""What glibc's thresholds, which grow with what is freed, end at."""


def keep_freed_memory(keep: bool = True) -> bool:
    """Have glibc keep what this process frees, instead of returning it to the system.

    A training step allocates what the step before it has freed. By default glibc returns free memory above 64 MiB, and
    the system fills every page of it with zeros when it is allocated again. What is allocated in one piece of 1 GiB or
    more, such as distances of a large test set, is returned all the same.

    Nothing changes where the environment says how memory is allocated (``MALLOC_TRIM_THRESHOLD_``,
    ``MALLOC_MMAP_THRESHOLD_``, ``GLIBC_TUNABLES`` of malloc).

    Args:
        keep: False for glibc's own thresholds.

    Returns:
        Whether the thresholds were set: False without glibc, too.
    """
    if not sys.platform.startswith("linux") or _set_by_environment():
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    thresholds = {_TRIM_THRESHOLD: _NEVER, _MMAP_THRESHOLD: _KEPT} if keep else _DEFAULTS
    return all(library.mallopt(name, value) for name, value in thresholds.items())


def _set_by_environment() -> bool:
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
    return any(name in os.environ for name in names) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
