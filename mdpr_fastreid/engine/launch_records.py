"""Where the processes of a launch leave their errors for the one that started them."""

import contextlib
import pickle
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

_PREFIX, _LOCK = "fastreid-launch-", ".lock"
# A folder this young may be of a launch that is about to lock it
_SECONDS_TO_LOCK = 60.0


class ErrorRecord(NamedTuple):
    """What ended a process; records sort by time."""

    time: float
    """In seconds, as ``time.time()``."""
    local_rank: int
    pid: int
    known: Exception | None
    """The error, if its message is all that is to be printed."""
    text: str
    """The traceback."""


@contextlib.contextmanager
def records_folder() -> Iterator[Path]:
    """A temporary folder for the records of a launch; those that killed launches have left are removed first."""
    _remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        lock = FileLock(Path(name, _LOCK))  # the system frees it when the process ends, however it ends
        with lock:
            yield Path(name)


def _remove_abandoned(temporary: Path) -> None:
    for folder in temporary.glob(f"{_PREFIX}*"):
        # Other users' folders, and what vanishes meanwhile, are not this launch's business
        with contextlib.suppress(OSError, Timeout):
            is_young = time.time() - folder.stat().st_mtime < _SECONDS_TO_LOCK
            if folder.is_symlink() or is_young or not (folder / _LOCK).is_file():
                continue
            with FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder)


def write_record(folder: Path, record: ErrorRecord) -> None:
    """Leave a record, unless who started this process is gone, and the folder with it."""
    with contextlib.suppress(OSError):
        (folder / str(record.local_rank)).write_bytes(pickle.dumps(tuple(record)))


def error_records(folder: Path) -> list[ErrorRecord]:
    """The records of a launch, the earliest first."""
    return sorted(ErrorRecord(*pickle.loads(path.read_bytes())) for path in folder.iterdir() if path.name != _LOCK)
