"""A file without a name that the processes of a user on a machine find by what they would call it.

It lives as long as a process has it open, however the processes end: nothing has to be removed, and nothing is left.
"""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from mdpr_fastreid.errors import UsageError

logger = logging.getLogger("fastreid.data.nameless_file")

# As long as a process may be stopped while it has the lock; then there are two files, each of which is right
_SECONDS_FOR_THE_LOCK = 20.0


def nameless_file(folder: str, name: str, size: int, asked_by: str, way_out: str) -> BinaryIO:
    """The file that another process of this user has open under this name, or a new one, of zeros.

    Linux says which files a process has open (``/proc``). On other systems, in another container, and on a network file
    system every process gets a file of its own.

    Args:
        folder: where it is kept; it is made if missing.
        name: with its size, all that decides what it holds.
        size: in bytes.
        asked_by: begins the messages: the key that names the folder.
        way_out: ends the one that the disk is too full.

    Raises:
        UsageError: the folder cannot be made or written to, or its disk has no room for all of a new file.
    """
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise UsageError(f"{asked_by} {folder} is a file: name a folder")
    try:
        os.makedirs(folder, exist_ok=True)
        prefix = os.path.join(os.path.realpath(folder), f"{name}-")
        with _locked(folder):
            descriptor = _open_in_a_process(prefix, size)
            if descriptor is not None:
                logger.info("%s %s: shared with another loader of these images", asked_by, folder)
            else:
                _need_room(folder, size, asked_by, way_out)
                descriptor = _new(prefix, size)
    except OSError as error:
        raise UsageError(f"{asked_by} {folder}: {error.strerror or error}") from error
    return open(descriptor, "r+b", buffering=0)


def _new(prefix: str, size: int) -> int:
    descriptor, path = tempfile.mkstemp(prefix=os.path.basename(prefix), dir=os.path.dirname(prefix))
    # Linux goes on telling the name, with "(deleted)" after it
    os.unlink(path)
    os.truncate(descriptor, size)
    return descriptor


def _need_room(folder: str, size: int, asked_by: str, way_out: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        # In MiB, as a small set may need no tenth of a GiB
        needed, there = (f"{count / 2**20:,.1f} MiB" for count in (size, free))
        raise UsageError(f"{asked_by} {folder}: {needed} are needed, {there} free: {way_out}")


def _open_in_a_process(prefix: str, size: int) -> int | None:
    """A descriptor of the file whose name began so; None if no process of this user has it open."""
    for link in _links_of_open_files():
        try:
            target = os.readlink(link)
            if not (target.startswith(prefix) and target.endswith(" (deleted)")):
                continue
            descriptor = os.open(link, os.O_RDWR)
        except OSError:  # it was closed in between
            continue
        if os.fstat(descriptor).st_size == size:
            return descriptor
        os.close(descriptor)
    return None


def _links_of_open_files() -> Iterator[str]:
    """What ``/proc`` has for each file that a process of this user has open; nothing on other systems."""
    if not os.path.isdir("/proc/self/fd"):
        return
    user = os.stat("/proc/self").st_uid
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            links = os.listdir(f"/proc/{process}/fd") if os.stat(f"/proc/{process}").st_uid == user else []
        except OSError:  # it ended in between, or hides what it has open
            continue
        yield from (f"/proc/{process}/fd/{link}" for link in links)


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Only one process of the machine at a time, where the folder's file system has locks; they die with a process."""
    import fcntl  # which Windows has not

    descriptor, end = os.open(folder, os.O_RDONLY), time.monotonic() + _SECONDS_FOR_THE_LOCK
    try:
        while time.monotonic() < end:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
        yield
    finally:
        os.close(descriptor)
