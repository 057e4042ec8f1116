"""Batches of pixels, read and resized by threads while the network computes."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from PIL import Image

from mdpr_fastreid.data.fields import IMAGES
from mdpr_fastreid.data.reading import DamagedImageError
from mdpr_fastreid.data.transforms import JointTransforms
from mdpr_fastreid.embedding.inputs import Read
from mdpr_fastreid.errors import UsageError

_BATCHES_AHEAD = 2

Batch = tuple[torch.Tensor | None, list[tuple[int, DamagedImageError]]]
"""Pixels ``[B, 3, H, W]`` of what could be read, None if nothing could; places within the batch of what could not."""


def default_workers() -> int:
    """Threads that read images: one for each core, four at most."""
    return min(4, os.cpu_count() or 1)


def batches_of(
    reads: Iterable[Read], prepare: Callable[[Image.Image | torch.Tensor], torch.Tensor], batch_size: int, workers: int
) -> Iterator[Batch]:
    """Batches in the order of ``reads``, of which two are prepared ahead.

    Threads are enough, as Pillow decodes and resizes without Python's lock; and memory stays as it is.

    Args:
        reads: give a picture each; an iterator is asked for no more than what is prepared ahead.
        prepare: from a picture to pixels ``[3, H, W]``, all of one size.
        batch_size: pictures at a time.
        workers: threads; 0 to read where this is called.

    Raises:
        Exception: whatever ``prepare`` raises, but for a :class:`DamagedImageError`, which the batch says.
    """
    reads = iter(reads)
    if workers == 0:
        while some := list(itertools.islice(reads, batch_size)):
            yield _batch([_attempt(read, prepare) for read in some])
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read-images")
    ahead: deque[list[Future]] = deque()
    try:
        while True:
            while len(ahead) <= _BATCHES_AHEAD and (some := list(itertools.islice(reads, batch_size))):
                ahead.append([pool.submit(_attempt, read, prepare) for read in some])
            if not ahead:
                return
            yield _batch([future.result() for future in ahead.popleft()])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _attempt(read: Read, prepare: Callable) -> torch.Tensor | DamagedImageError:
    try:
        return prepare(read())
    except DamagedImageError as error:
        return error


def _batch(results: list[torch.Tensor | DamagedImageError]) -> Batch:
    damaged = [(place, one) for place, one in enumerate(results) if isinstance(one, DamagedImageError)]
    whole = [one for one in results if not isinstance(one, DamagedImageError)]
    if len({one.dtype for one in whole}) > 1:
        whole = [one.float() for one in whole]
    return torch.stack(whole) if whole else None, damaged


class Resize:
    """From a picture to the pixels that a network gets, as an evaluation has them.

    Args:
        transforms: those of an evaluation.
        size: height and width of what they give.
    """

    def __init__(self, transforms: JointTransforms, size: Sequence[int]) -> None:
        self._transforms, self._size = transforms, tuple(size)

    def __call__(self, picture: Image.Image | torch.Tensor) -> torch.Tensor:
        """``[3, H, W]`` in uint8; pixels that come as floats stay floats, and have to be of the size.

        Raises:
            UsageError: floats of another size, or that are no pixels.
        """
        if isinstance(picture, torch.Tensor):
            if tuple(picture.shape[1:]) != self._size:
                raise UsageError(
                    f"a tensor in floating point must be of the model's size, {self._size[0]}x{self._size[1]}, got "
                    f"{picture.shape[1]}x{picture.shape[2]}: give uint8, which is resized as in an evaluation"
                )
            return _checked(picture.detach().to("cpu", torch.float32))
        return self._transforms({IMAGES: picture})[IMAGES]


def _checked(pixels: torch.Tensor) -> torch.Tensor:
    """Floats that can be pixels from 0 to 255.

    Raises:
        UsageError: they are not, or are all from 0 to 1, as torchvision's ``to_tensor`` makes them.
    """
    low, high = float(pixels.amin()), float(pixels.amax())
    if not (low >= 0 and high <= 255):  # nor for NaN
        raise UsageError(f"a tensor in floating point must be of pixels from 0 to 255, got {low:g} to {high:g}")
    if 0 < high <= 1:
        raise UsageError(
            f"a tensor in floating point must be of pixels from 0 to 255, got at most {high:g}: times 255?"
        )
    return pixels
