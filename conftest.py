"""What every test shares: a data root of its own, and imports in the order a user has them."""

import atexit
import os
import shutil
import tempfile

# FastReID reads FASTREID_DATASETS when its loaders are imported, so this comes before any import of it.
_DATA_ROOT = tempfile.mkdtemp(prefix="mdpr-tests-")
atexit.register(shutil.rmtree, _DATA_ROOT, ignore_errors=True)
os.environ["FASTREID_DATASETS"] = _DATA_ROOT

# Workers of pytest-xdist share the cores: with a pool of threads each, all of them would mostly wait for each other
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import mdpr_fastreid  # noqa: E402, F401  (stock FastReID cannot be imported everywhere before it is patched)


def pytest_xdist_auto_num_workers(config) -> int:
    """One more than there are cores: tests that wait for other processes leave theirs idle."""
    return (os.cpu_count() or 1) + 1
