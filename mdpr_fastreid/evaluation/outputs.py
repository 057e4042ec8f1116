"""What a model gives of images: a tensor, or a dict of tensors, with a row for each image."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.evaluation.features import Features

Outputs = Features | dict[str, Features]
"""What a model gives of ``N`` images: ``[N, D]`` features, or a dict of arrays with ``N`` rows each."""

Distance = Callable[[Outputs, Outputs], Features]
"""Distances ``[Q, G]`` of the outputs of ``Q`` query and ``G`` gallery images, smaller for more alike."""


def kept_on_cpu(outputs: Outputs, batch: int) -> Outputs:
    """Outputs of a batch on the CPU, floating-point ones in float32.

    Args:
        outputs: on any device.
        batch: how many images they are of.

    Raises:
        SettingsError: an output is no tensor, or has another number of rows.
    """
    if not isinstance(outputs, dict):
        return _kept(outputs, "features", batch).to(torch.float32)
    return {name: _kept(value, repr(name), batch) for name, value in outputs.items()}


def _kept(output: torch.Tensor, name: str, batch: int) -> torch.Tensor:
    if not isinstance(output, torch.Tensor):
        raise SettingsError(f"the model's {name} must be a tensor, got {type(output).__name__}")
    if output.ndim == 0 or len(output) != batch:
        raise SettingsError(f"the model's {name} must have a row for each of {batch} images, got {list(output.shape)}")
    return in_float32(output.cpu())


def in_float32(outputs: Outputs) -> Outputs:
    """Outputs with their floating-point values in float32, on the device they are on."""
    if isinstance(outputs, dict):
        return {name: in_float32(value) for name, value in outputs.items()}
    return outputs.float() if outputs.is_floating_point() else outputs


def joined_outputs(parts: Sequence[Outputs]) -> Outputs:
    """The outputs of several groups of images in one, in their order; of a single group they are no copy."""
    if len(parts) == 1:
        return parts[0]
    if not isinstance(parts[0], dict):
        return torch.cat(list(parts))
    return {name: torch.cat([outputs[name] for outputs in parts]) for name in parts[0]}


def rows(outputs: Outputs, chosen: slice | torch.Tensor) -> Outputs:
    """The outputs of some of the images: by a slice they are no copy, by indices they are."""
    return {name: value[chosen] for name, value in outputs.items()} if isinstance(outputs, dict) else outputs[chosen]


def count(outputs: Outputs) -> int:
    """How many images the outputs are of."""
    return len(next(iter(outputs.values())) if isinstance(outputs, dict) else outputs)


def mean_of(first: Outputs, second: Outputs) -> Outputs:
    """The mean of two outputs of the same images; what counts or names something, in integers, is the first one's."""
    if isinstance(first, dict):
        return {name: mean_of(value, second[name]) for name, value in first.items()}
    return (first + second) / 2 if first.is_floating_point() else first


class GrowingOutputs:
    """Outputs that come a batch at a time, kept in one piece: joining batches at the end would take their memory twice.

    Arrays grow by a tenth of their length where they are, which copies nothing on a system that can remap memory
    (Linux).
    """

    _GROWTH = 1.1

    def __init__(self) -> None:
        self._arrays: dict[str | None, np.ndarray] = {}
        self._count = 0
        self._is_lent = False

    def __len__(self) -> int:
        return self._count

    def add(self, outputs: Outputs) -> None:
        """Append the outputs of a batch, tensors on the CPU that :func:`kept_on_cpu` has checked.

        Raises:
            SettingsError: they have other names, or rows of another size, than those before.
        """
        parts = outputs if isinstance(outputs, dict) else {None: outputs}
        parts = {name: part.detach().numpy() for name, part in parts.items()}
        if not self._count:
            self._arrays = {name: np.empty((0, *part.shape[1:]), part.dtype) for name, part in parts.items()}
        self._check(parts)
        new = self._count + count(outputs)
        if new > len(next(iter(self._arrays.values()))):
            self._grow(max(new, int(self._count * self._GROWTH)))
        for name, part in parts.items():
            self._arrays[name][self._count : new] = part
        self._count = new

    def outputs(self) -> Outputs:
        """Everything so far, without a copy; what is added later does not change it."""
        self._is_lent = True
        parts = {name: torch.from_numpy(array[: self._count]) for name, array in self._arrays.items()}
        return parts.get(None, parts)

    def _check(self, parts: dict[str | None, np.ndarray]) -> None:
        before, now = (
            {name: (array.shape[1:], array.dtype) for name, array in arrays.items()} for arrays in (self._arrays, parts)
        )
        if before != now:
            different = next(name for name in {**before, **now} if before.get(name) != now.get(name))
            raise SettingsError(
                f"the model's {different or 'features'} must be of one shape and type for all images, got "
                f"{_described(before.get(different))}, then {_described(now.get(different))}"
            )

    def _grow(self, length: int) -> None:
        for name, array in self._arrays.items():
            if self._is_lent:  # where it is, it would be taken away from who has it
                self._arrays[name] = np.empty((length, *array.shape[1:]), array.dtype)
                self._arrays[name][: self._count] = array[: self._count]
            else:
                array.resize((length, *array.shape[1:]), refcheck=False)
        self._is_lent = False


def _described(kind: tuple[tuple[int, ...], np.dtype] | None) -> str:
    return "none" if kind is None else f"{kind[1]} {[*kind[0]]}"
