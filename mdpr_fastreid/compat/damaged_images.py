"""An image that cannot be read ends a run in an error that does not name it, and a palette is read as grey, always.

* Errors name the file and the command that lists all such files; with ``DATALOADER.SKIP_DAMAGED`` training goes on, and
  says at its end how many there were.
* Palette, CMYK, 16-bit and transparent images become RGB, instead of wrong colours or an error inside a transform.
* On a GPU the loader's thread dies with the error of a worker, and training waits for its next batch for ever.

Can go when FastReID's ``read_image`` and ``BackgroundGenerator`` do this.
"""

import functools
import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from fastreid.data import common, data_utils
from fastreid.data.common import CommDataset
from fastreid.engine.train_loop import TrainerBase
from fastreid.utils.file_io import PathManager
from PIL import Image, UnidentifiedImageError

from mdpr_fastreid.data.reading import DAMAGE, read_rgb
from mdpr_fastreid.errors import UsageError

logger = logging.getLogger("fastreid.data.damaged")


def apply() -> None:
    """Mend the reading of images, the data set that training reads, its end, and the GPU loader's thread."""
    stock_read_image = common.read_image
    common.read_image = read_image
    data_utils.read_image = functools.wraps(stock_read_image)(_reading(stock_read_image))
    CommDataset.__getitem__ = _getting(CommDataset.__getitem__)
    TrainerBase.after_train = _telling_how_many(TrainerBase.after_train)
    data_utils.BackgroundGenerator.run = _passing_errors_on(data_utils.BackgroundGenerator.run)
    data_utils.BackgroundGenerator.next = _next


def _reading(stock_read_image: Callable) -> Callable:
    def read(file_name: str, format: str | None = None) -> Image.Image:
        return read_image(file_name) if format is None else stock_read_image(file_name, format)

    return read


def read_image(file_name: str) -> Image.Image:
    """The picture in RGB, see :func:`~mdpr_fastreid.data.reading.read_rgb`.

    Raises:
        UsageError: it cannot be read; the message names the file.
    """
    try:
        with PathManager.open(file_name, "rb") as file:
            return read_rgb(file)
    except DAMAGE as error:
        raise UsageError(f"{file_name}: cannot be read as an image ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not of a format that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}".replace("\n", " ")


def watch(dataset: CommDataset, command: str, skip: bool) -> None:
    """Tell a data set what to say, or do, about an image that cannot be read.

    Args:
        dataset: what a loader reads.
        command: lists all damaged images, e.g. ``mdpr data Market1501``.
        skip: whether another image of the identity takes its place.
    """
    if not isinstance(dataset, CommDataset):
        return
    dataset.check_command = command
    if skip:
        dataset.substitutes = Substitutes(dataset.img_items)


class Substitutes:
    """Which images of a data set are damaged, and which take their places.

    Always the next image of the same identity, in the order of the items: batches keep their identities, and nothing is
    drawn, so that a seeded run stays one.

    Args:
        items: the data set's; a shared byte for each remembers what any worker has found.
    """

    def __init__(self, items: list[tuple]) -> None:
        self.items = items
        self.damaged = torch.zeros(len(items), dtype=torch.uint8).share_memory_()
        self._of_identity: dict[Any, list[int]] = defaultdict(list)
        for index, item in enumerate(items):
            self._of_identity[item[1]].append(index)

    @property
    def count(self) -> int:
        """How many damaged images have been met."""
        return int(self.damaged.sum())

    def note(self, index: int, error: UsageError) -> None:
        """Remember a damaged image, and warn if it is new."""
        if not self.damaged[index]:
            self.damaged[index] = 1
            logger.warning("%s; another image of its identity takes its place. %d damaged so far", error, self.count)

    def candidates(self, index: int) -> list[int]:
        """The image itself and then the others of its identity, less those known to be damaged."""
        indices = self._of_identity[self.items[index][1]]
        start = indices.index(index)
        return [i for i in indices[start:] + indices[:start] if not self.damaged[i]]


def _getting(stock_getitem: Callable) -> Callable:
    @functools.wraps(stock_getitem)
    def __getitem__(self: CommDataset, index: int) -> dict:
        substitutes = getattr(self, "substitutes", None)
        command = getattr(self, "check_command", "mdpr data")
        if substitutes is None:
            try:
                return stock_getitem(self, index)
            except UsageError as error:
                raise UsageError(f"{error}. `{command}` lists all damaged images") from None
        for candidate in substitutes.candidates(int(index)):
            try:
                return stock_getitem(self, candidate)
            except UsageError as error:
                substitutes.note(candidate, error)
        path, identity = self.img_items[index][:2]
        raise UsageError(f"{path}: every image of identity {identity} is damaged. `{command}` lists them")

    return __getitem__


def _telling_how_many(stock_after_train: Callable) -> Callable:
    @functools.wraps(stock_after_train)
    def after_train(self: TrainerBase) -> None:
        stock_after_train(self)
        loader = getattr(getattr(self, "_trainer", self), "data_loader", None)
        dataset = getattr(loader, "dataset", None)
        substitutes = getattr(dataset, "substitutes", None)
        if substitutes is not None and substitutes.count:
            logger.warning(
                f"{substitutes.count} of {len(dataset)} training images could not be read, others of their identities "
                f"took their places (DATALOADER.SKIP_DAMAGED). `{dataset.check_command}` lists them"
            )

    return after_train


def _passing_errors_on(stock_run: Callable) -> Callable:
    @functools.wraps(stock_run)
    def run(self: data_utils.BackgroundGenerator) -> None:
        try:
            stock_run(self)
        except Exception as error:
            self.queue.put(error)

    return run


def _next(self: data_utils.BackgroundGenerator) -> Any:
    item = self.queue.get()
    if isinstance(item, Exception):
        raise item
    if item is None:
        raise StopIteration
    return item
