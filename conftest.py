"""What every test shares: a data root of its own, and imports in the order a user has them."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

_IN_MEMORY = "/dev/shm"
_GIB = 2**30


def _memory_has_room() -> bool:
    """Whether the system's folder in memory takes what tests write at once, and runs the programs among it."""
    # Nothing of the package counts memory here: it is not to be imported yet
    if not os.path.isdir(_IN_MEMORY) or not os.access(_IN_MEMORY, os.W_OK):
        return False
    filesystem = os.statvfs(_IN_MEMORY)
    available = next(
        line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:")
    )
    free = min(filesystem.f_bavail * filesystem.f_frsize, int(available.split()[1]) * 1024)
    return free > 12 * _GIB and not filesystem.f_flag & os.ST_NOEXEC


# Tests write hundreds of thousands of small files, on which some disks spend more time than the tests themselves.
# TMPDIR is for the processes that tests start, too
if "TMPDIR" not in os.environ and sys.platform == "linux" and _memory_has_room():
    os.environ["TMPDIR"] = tempfile.tempdir = _IN_MEMORY

# FastReID reads FASTREID_DATASETS when its loaders are imported, so this comes before any import of it.
_DATA_ROOT = tempfile.mkdtemp(prefix="mdpr-tests-")
atexit.register(shutil.rmtree, _DATA_ROOT, ignore_errors=True)
os.environ["FASTREID_DATASETS"] = _DATA_ROOT

# Workers of pytest-xdist share the cores: with a pool of threads each, all of them would mostly wait for each other
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import mdpr_fastreid  # noqa: E402, F401  (stock FastReID cannot be imported everywhere before it is patched)


def pytest_report_header() -> str:
    """Where to look for what a failed test leaves."""
    return f"temporary files: {tempfile.gettempdir()} (TMPDIR sets another folder)"


def pytest_xdist_auto_num_workers(config) -> int:
    """One more than there are cores: tests that wait for other processes leave theirs idle."""
    return (os.cpu_count() or 1) + 1
