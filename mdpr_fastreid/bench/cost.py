"""What a network costs whatever it runs on: multiply-adds and parameters."""

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mdpr_fastreid.errors import UsageError


def multiply_adds(model: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-adds of one image's inference: those of convolutions and matrix products, as the field counts them.

    Batch norms, activations, pooling and sums are left out. Nothing is computed: a copy of the model without data
    (PyTorch's meta device) is asked for its shapes.

    Args:
        model: from images ``[B, 3, H, W]`` to features; it is not changed, whatever mode it is in.
        size: height and width of the image.

    Raises:
        UsageError: the size is not two positive numbers.
    """
    if len(size) != 2 or min(size) < 1:
        raise UsageError(f"an image's size is a height and a width in pixels, got {list(size)}")
    shapes_only = copy.deepcopy(model).to("meta").eval()
    images = torch.empty(1, 3, *size, device="meta")
    with torch.no_grad():
        return counted(lambda: shapes_only(images))


def training_multiply_adds(add_gradients: Callable[[dict], object], batch: dict[str, torch.Tensor]) -> int:
    """Multiply-adds of a training step for each image, or clip: forward, losses, backward; not the optimizer's.

    It computes the step. Batch norms' statistics are updated, and gradients are left behind.

    Args:
        add_gradients: of a training step, see :class:`~mdpr_fastreid.engine.steps.TrainingStep`.
        batch: as the model takes it, with ``targets`` ``[B]``.
    """
    return counted(lambda: add_gradients(batch)) // len(batch["targets"])


def counted(compute: Callable[[], object]) -> int:
    """Multiply-adds of the convolutions and matrix products of one call."""
    with FlopCounterMode(display=False) as counter:
        compute()
    # PyTorch counts a multiplication and an addition as two
    return counter.get_total_flops() // 2


def parameters(model: nn.Module) -> int:
    """Numbers a network learns; batch norms' statistics are not among them."""
    return sum(parameter.numel() for parameter in model.parameters())
