"""Images leave a loader's workers, and go to the GPU, as float32: four bytes for a value that is one, always.

Only random erasing puts anything but whole numbers into them. So here a worker computes on bytes, with a fourth plane
that marks what was erased, and the loader makes floats of a batch at its end, on the GPU where there is one. What is
drawn, in which order, and each batch the loader gives stay the same bit for bit; data sets outside the workers are as
they were. Can go when FastReID's loader sends bytes.
"""

import copy
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torchvision.transforms as T
from fastreid.data.common import CommDataset
from fastreid.data.data_utils import DataLoaderX
from fastreid.data.transforms.transforms import RandomPatch, ToTensor
from PIL import Image
from torch.utils.data import DataLoader, get_worker_info

Fill = Sequence[float] | None
"""What random erasing puts into the three channels; None without it."""


def apply() -> None:
    """Let the GPU's loader make floats of the bytes it has moved to its device."""
    DataLoaderX.__next__ = _next_in_floats(DataLoaderX.__next__)


def send_bytes(loader: DataLoader) -> None:
    """Let the workers of a loader send bytes, if its transforms are such that these say it all.

    Args:
        loader: one that gives its batches through ``finish``, as ours and, once mended, FastReID's do.
    """
    found = on_bytes(loader.dataset)
    if found and loader.num_workers and loader.worker_init_fn is None:
        loader.worker_init_fn = _compute_on_bytes
        loader.finish = partial(in_floats, fill=found[1])


def in_floats(batch: Any, fill: Fill) -> Any:
    """A loader's batch with its images, ``[B, 3 or 4, H, W]`` bytes, as floats ``[B, 3, H, W]`` on the same device."""
    images = batch["images"]
    floats = images[:, :3].float()
    if fill is not None:
        erased = images[:, 3].bool()
        for channel, value in enumerate(fill):
            floats[:, channel].masked_fill_(erased, value)
    return {**batch, "images": floats}


def on_bytes(dataset: Any) -> tuple[T.Compose, Fill] | None:
    """The transforms of a data set, computing on bytes ``[3 or 4, H, W]``, and what stands for the fourth plane.

    Returns:
        None for a data set whose images may have more to them than bytes can say.
    """
    if type(dataset) is not CommDataset or type(dataset.transform) is not T.Compose:
        return None
    steps = dataset.transform.transforms
    kinds = [type(step) for step in steps]
    if ToTensor not in kinds:
        return None
    end = kinds.index(ToTensor)
    if any(not kind.__module__.startswith("torchvision.") for kind in kinds[:end]):
        return None  # AugMix, or a transform of the user's, which may return anything
    after = kinds[end + 1 :]
    if after not in ([], [T.RandomErasing], [RandomPatch], [T.RandomErasing, RandomPatch]):
        return None
    fill = None
    if T.RandomErasing in after:
        fill = steps[end + 1].value
        if not isinstance(fill, Sequence) or len(fill) != 3:
            return None
    changed = {
        ToTensor: lambda step: ToBytes(3 if fill is None else 4),
        T.RandomErasing: MarkErased,
        RandomPatch: partial(_patching_bytes, fill=fill),
    }
    return T.Compose([changed.get(type(step), lambda step: step)(step) for step in steps]), fill


def _compute_on_bytes(worker: int) -> None:
    """Change the transforms of a worker's own copy of the data set."""
    dataset = get_worker_info().dataset
    dataset.transform, _ = on_bytes(dataset)


class ToBytes:
    """An 8-bit RGB picture as bytes ``[3 or 4, H, W]``, the fourth plane zero."""

    def __init__(self, planes: int) -> None:
        self._planes = planes

    def __call__(self, image: Image.Image) -> torch.Tensor:
        pixels = np.asarray(image)
        coded = np.zeros((self._planes, *pixels.shape[:2]), np.uint8)
        coded[:3] = pixels.transpose(2, 0, 1)
        return torch.from_numpy(coded)


class MarkErased:
    """Draws what ``erasing`` draws, and sets the fourth plane of bytes ``[4, H, W]`` to 1 where it would erase."""

    def __init__(self, erasing: T.RandomErasing) -> None:
        self._mark = T.RandomErasing(erasing.p, erasing.scale, erasing.ratio, value=1, inplace=True)

    def __call__(self, coded: torch.Tensor) -> torch.Tensor:
        self._mark(coded[3:])
        return coded


def _patching_bytes(patching: RandomPatch, fill: Fill) -> RandomPatch:
    patching = copy.copy(patching)
    patching.patchpool = deque((_coded(patch, fill) for patch in patching.patchpool), patching.patchpool.maxlen)
    return patching


def _coded(image: torch.Tensor, fill: Fill) -> torch.Tensor:
    """Bytes of a float image ``[3, H, W]``: of one that was cut out before the worker was started."""
    if fill is None:
        return image.byte()
    erased = (image == image.new_tensor(fill).view(3, 1, 1)).all(dim=0, keepdim=True)
    return torch.cat([image.byte(), erased.byte()])


def _next_in_floats(stock_next: Callable) -> Callable:
    def __next__(self: DataLoaderX) -> Any:
        batch = stock_next(self)
        if not hasattr(self, "finish"):
            return batch
        if batch["images"].is_cuda:  # it lies in memory of another stream, which must not be used again before its time
            batch["images"].record_stream(torch.cuda.current_stream())
        return self.finish(batch)

    return __next__
