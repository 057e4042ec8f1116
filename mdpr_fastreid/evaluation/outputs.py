"""What a model gives of images: a tensor, or a dict of tensors, with a row for each image."""

from collections.abc import Sequence

import torch

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.evaluation.distance_registry import Outputs


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


def joined_batches(batches: Sequence[Outputs]) -> Outputs:
    """The outputs of many batches in one, in their order."""
    if not isinstance(batches[0], dict):
        return torch.cat(list(batches))
    return {name: torch.cat([outputs[name] for outputs in batches]) for name in batches[0]}


def rows(outputs: Outputs, chosen: slice) -> Outputs:
    """The outputs of some of the images."""
    return {name: value[chosen] for name, value in outputs.items()} if isinstance(outputs, dict) else outputs[chosen]


def count(outputs: Outputs) -> int:
    """How many images the outputs are of."""
    return len(next(iter(outputs.values())) if isinstance(outputs, dict) else outputs)


def mean_of(first: Outputs, second: Outputs) -> Outputs:
    """The mean of two outputs of the same images; what counts or names something, in integers, is the first one's."""
    if isinstance(first, dict):
        return {name: mean_of(value, second[name]) for name, value in first.items()}
    return (first + second) / 2 if first.is_floating_point() else first
