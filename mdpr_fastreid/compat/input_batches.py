"""A model's forward pass changes the batch it is given, in every meta-architecture, always.

``images.sub_(mean).div_(std)`` normalises the caller's images in place, so that flip testing, which passes
the same batch twice, normalises twice; and targets that precise BN marks with -1 are zeroed in the caller's
batch. Can go when FastReID's ``preprocess_image`` returns a new tensor.
"""

import functools
from collections.abc import Callable

import torch
from fastreid.modeling.meta_arch import MGN, Baseline, Distiller


def apply() -> None:
    """Let every stock meta-architecture work on tensors of its own (MoCo inherits Baseline's methods)."""
    for architecture in (Baseline, MGN, Distiller):
        architecture.forward = _with_own_targets(architecture.forward)
    for architecture in (Baseline, MGN):
        architecture.preprocess_image = normalized_images


def normalized_images(self: torch.nn.Module, batched_inputs: dict | torch.Tensor) -> torch.Tensor:
    """The batch's images, ``[B, C, H, W]`` in 0 .. 255, less ``pixel_mean``, over ``pixel_std``, as a new tensor.

    Raises:
        TypeError: the input is neither a batch dict nor a tensor.
    """
    images = batched_inputs["images"] if isinstance(batched_inputs, dict) else batched_inputs
    if not isinstance(images, torch.Tensor):
        raise TypeError(f"expected a batch dict or a tensor of images, got {type(batched_inputs).__name__}")
    return (images - self.pixel_mean).div_(self.pixel_std)


def _with_own_targets(stock_forward: Callable) -> Callable:
    @functools.wraps(stock_forward)
    def forward(self: torch.nn.Module, batched_inputs: dict | torch.Tensor) -> dict | torch.Tensor:
        if self.training and isinstance(batched_inputs, dict) and "targets" in batched_inputs:
            batched_inputs = {
                **batched_inputs,
                "targets": batched_inputs["targets"].clone(),
            }
        return stock_forward(self, batched_inputs)

    return forward
