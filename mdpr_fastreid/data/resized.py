"""Resized training images in a file, so that they are decoded and resized in one epoch only: ``DATALOADER.CACHE``."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from mdpr_fastreid.errors import UsageError

logger = logging.getLogger("fastreid.data.resized")


class ResizedImages:
    """RGB pictures of one size in a file without a name, which all workers of a loader read and fill.

    Args:
        folder: where there is room; it is made if missing.
        count: pictures.
        size: height and width.

    Raises:
        UsageError: the folder cannot be made or written to, its disk has no room for all pictures, or the system has no
            reading and writing at a place of a file.
    """

    def __init__(self, folder: str, count: int, size: Sequence[int]) -> None:
        if not hasattr(os, "pread"):
            raise UsageError('DATALOADER.CACHE needs a system with os.pread, which this one has not: leave it at ""')
        self._size = tuple(size)
        # A last byte says that the picture is there; elsewhere the file reads as zeros
        self._record = 3 * size[0] * size[1] + 1
        needed = count * self._record
        try:
            os.makedirs(folder, exist_ok=True)
            free = shutil.disk_usage(folder).free
            if free < needed:
                raise UsageError(
                    f"DATALOADER.CACHE {folder}: {count} images of {size[0]}x{size[1]} take {needed / 2**30:.1f} GiB, "
                    f'and {free / 2**30:.1f} are free: name another folder, or "" to resize in every epoch'
                )
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (open as long as this object lives)
            self._file.truncate(needed)
        except OSError as error:
            raise UsageError(f"DATALOADER.CACHE {folder}: {error.strerror}") from error

    def picture(self, index: int, make: Callable[[], Image.Image]) -> Image.Image:
        """Picture ``index``; the first time it is what ``make`` returns, in RGB and of the size."""
        offset = index * self._record
        found = os.pread(self._file.fileno(), self._record, offset)
        if found[-1]:
            return Image.frombuffer("RGB", self._size[::-1], found, "raw", "RGB", 0, 1)
        made = make()
        try:
            # The pixels first: another worker may read in between, and two may write the same
            os.pwrite(self._file.fileno(), np.asarray(made), offset)
            os.pwrite(self._file.fileno(), b"\1", offset + self._record - 1)
        except OSError as error:
            logger.warning("DATALOADER.CACHE: %s; image %d is resized anew in every epoch", error.strerror, index)
        return made

    def __getstate__(self) -> dict:
        """For a worker that is spawned, which gets the open file."""
        from multiprocessing import reduction  # whose DupFd not every system has

        return {**vars(self), "_file": reduction.DupFd(self._file.fileno())}

    def __setstate__(self, state: dict) -> None:
        """In that worker."""
        vars(self).update(state, _file=open(state["_file"].detach(), "r+b"))  # noqa: SIM115
