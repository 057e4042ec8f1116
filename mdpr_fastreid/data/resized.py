"""Resized training images in a file, so that they are decoded and resized in one epoch only: ``DATALOADER.CACHE``."""

import errno
import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image

from mdpr_fastreid.data.nameless_file import nameless_file
from mdpr_fastreid.errors import UsageError

logger = logging.getLogger("fastreid.data.resized")

_STAMP = 16
"""Bytes after a picture that say of which state of its file it was made; zeros if it is not there yet."""
_EMPTY = bytes(_STAMP)
_CODE = ("reading.py", "resized.py", "transforms.py")
"""What makes a resized picture of a file."""


class ResizedImages:
    """RGB pictures of one size in a file without a name, which all who make the same pictures read and fill.

    These are the workers of a loader and, where the system tells which files a process has open (Linux), the loaders of
    all processes of the same user on the machine: of one run, or of several. A picture of another one is used if its
    file is still the one that it was made of, by inode, size and dates; that is looked at once.

    Args:
        folder: where there is room; it is made if missing.
        paths: of the images.
        size: height and width.
        shared: whether other processes may make the same pictures of the same files: not by code that this package does
            not know.

    Raises:
        UsageError: the folder cannot be made or written to, its disk has no room for all pictures, or the system has no
            reading and writing at a place of a file.
    """

    def __init__(self, folder: str, paths: Sequence[str], size: Sequence[int], *, shared: bool = True) -> None:
        if not hasattr(os, "pread"):
            raise UsageError('DATALOADER.CACHE needs a system with os.pread, which this one has not: leave it at ""')
        self._size = tuple(size)
        self._pixels = 3 * size[0] * size[1]
        self._record = self._pixels + _STAMP
        name = f"mdpr-resized-{_same_pictures(paths, self._size) if shared else secrets.token_hex(12)}"
        way_out = (
            f'{len(paths)} images of {size[0]}x{size[1]} are kept; name another folder, or "" to resize in every epoch'
        )
        self._file = nameless_file(folder, name, len(paths) * self._record, "DATALOADER.CACHE", way_out)
        # Of all workers of this process: whose file was looked at, and what was warned of
        self._checked = torch.zeros(len(paths), dtype=torch.uint8).share_memory_()
        self._full, self._changed = (torch.zeros(1, dtype=torch.uint8).share_memory_() for _ in range(2))

    def picture(self, index: int, path: str, make: Callable[[], Image.Image]) -> Image.Image:
        """Picture ``index``, of the file ``path``; the first time what ``make`` returns, in RGB and of the size."""
        found = os.pread(self._file.fileno(), self._record, index * self._record)
        stamp = found[self._pixels :]
        if stamp != _EMPTY:
            if not self._checked[index] and stamp != _stamp_of(path):
                text = "%s was changed after another run kept it: such are resized anew in every epoch"
                _warn_once(self._changed, text, path)
                return make()
            self._checked[index] = 1
            return Image.frombuffer("RGB", self._size[::-1], found, "raw", "RGB", 0, 1)
        # Before it is read: a change in between then shows as one
        stamp = _stamp_of(path)
        made = make()
        if stamp is not None and not self._full:
            self._keep(index, np.asarray(made), stamp)
        return made

    def _keep(self, index: int, pixels: np.ndarray, stamp: bytes) -> None:
        import fcntl  # which Windows has not

        file, offset = self._file.fileno(), index * self._record
        try:
            # One writer of a picture, so that its stamp is its own; the lock dies with a process that is killed
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
            try:
                if os.pread(file, _STAMP, offset + self._pixels) == _EMPTY:
                    _write(file, pixels, offset)
                    _write(file, stamp, offset + self._pixels)
                    self._checked[index] = 1
            finally:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, offset)
        except (BlockingIOError, PermissionError):  # another process is writing it
            pass
        except OSError as error:
            _warn_once(
                self._full, "%s: images that are not kept yet are resized anew in every epoch", error.strerror or error
            )

    def __getstate__(self) -> dict:
        """For a worker that is spawned, which gets the open file."""
        from multiprocessing import reduction  # whose DupFd not every system has

        return {**vars(self), "_file": reduction.DupFd(self._file.fileno())}

    def __setstate__(self, state: dict) -> None:
        """In that worker."""
        vars(self).update(state, _file=open(state["_file"].detach(), "r+b", buffering=0))  # noqa: SIM115


def _same_pictures(paths: Iterable[str], size: tuple[int, ...]) -> str:
    """A hash of all that decides the pictures but what is in the files: their names, the size, and the code."""
    digest = hashlib.sha256()
    for package in (PIL, torchvision, torch, np):
        # Two installations of one version may have been built with two decoders
        digest.update(f"{package.__version__} {package.__file__}\n".encode())
    for name in _CODE:
        digest.update((Path(__file__).parent / name).read_bytes())
    digest.update(f"{size}\n".encode())
    here = os.getcwd()
    for path in paths:
        digest.update(os.fsencode(os.path.join(here, path)) + b"\0")
    return digest.hexdigest()[:24]


def _stamp_of(path: str) -> bytes | None:
    """The state of a file: another one after any change of it; None if there is no file."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    facts = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return hashlib.blake2b(repr(facts).encode(), digest_size=_STAMP).digest()


def _write(file: int, content: np.ndarray | bytes, offset: int) -> None:
    """Write all of it, or raise: a disk that becomes full takes a part."""
    if os.pwrite(file, content, offset) < memoryview(content).nbytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _warn_once(flag: torch.Tensor, text: str, argument: object) -> None:
    if not flag:
        flag[0] = 1
        logger.warning(f"DATALOADER.CACHE: {text}", argument)
