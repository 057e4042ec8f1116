"""Every epoch decodes and resizes every image again, though both always give the same picture, always.

With ``DATALOADER.CACHE`` the first epoch writes the resized training images to a file, which later ones read instead;
what is random comes after it, and stays. A feature rather than a mend, here because stock's data set has to use it.
"""

import functools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from multiprocessing import reduction

import numpy as np
import torchvision.transforms as T
from fastreid.data import common
from fastreid.data.common import CommDataset
from PIL import Image

from mdpr_fastreid.errors import UsageError

logger = logging.getLogger("fastreid.data.resized")


def apply() -> None:
    """Let a data set that was told to keep its resized images use them."""
    CommDataset.__getitem__ = _getting(CommDataset.__getitem__)


def keep_resized(dataset: CommDataset, folder: str) -> None:
    """Let a training set keep its resized images in ``folder``, in a file that is gone when the run ends.

    Raises:
        UsageError: its images are not resized first of all, or there is no room for them.
    """
    steps = getattr(dataset.transform, "transforms", [None])
    if type(dataset) is not CommDataset or type(steps[0]) is not T.Resize or not isinstance(steps[0].size, list):
        raise UsageError(
            "DATALOADER.CACHE keeps the resized images, and here something else comes before resizing "
            '(INPUT.AUTOAUG.ENABLED, or a data set of your own): leave it at ""'
        )
    height, width = steps[0].size if len(steps[0].size) == 2 else steps[0].size * 2
    dataset.resized = ResizedImages(folder, len(dataset), (height, width))


class ResizedImages:
    """RGB pictures of one size in a file without a name, which all workers of a loader read and fill.

    Args:
        folder: where there is room; it is made if missing.
        count: pictures.
        size: height and width.

    Raises:
        UsageError: the folder cannot be made or written to, or its disk has no room for all pictures.
    """

    def __init__(self, folder: str, count: int, size: tuple[int, int]) -> None:
        self._size = size
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
        return {**vars(self), "_file": reduction.DupFd(self._file.fileno())}

    def __setstate__(self, state: dict) -> None:
        """In that worker."""
        vars(self).update(state, _file=open(state["_file"].detach(), "r+b"))  # noqa: SIM115


def _getting(stock_getitem: Callable) -> Callable:
    @functools.wraps(stock_getitem)
    def __getitem__(self: CommDataset, index: int) -> dict:
        resized = getattr(self, "resized", None)
        if resized is None:
            return stock_getitem(self, index)
        path, identity, camera = self.img_items[index][:3]
        resize, *others = self.transform.transforms
        image = resized.picture(index, lambda: resize(common.read_image(path)))
        return {
            "images": T.Compose(others)(image),
            "targets": self.pid_dict[identity],
            "camids": self.cam_dict[camera],
            "img_paths": path,
        }

    return __getitem__
