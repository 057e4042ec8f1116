"""Training on a CPU in float32: 3x3 convolutions, forward and backward, with a quarter of the multiplications."""

import torch
import torch.nn.functional as F
from torch import nn

from mdpr_fastreid.inference.winograd import (
    INPUT_TRANSFORM,
    KERNEL_TRANSFORM,
    OUTPUT_TRANSFORM,
    STEP,
    TILE,
    WinogradConv2d,
    outputs_of_tiles,
    tile_grid,
    transformed_tiles,
)


def train_with_winograd(model: nn.Module) -> None:
    """Let a model's wide 3x3 convolutions be computed by Winograd's algorithm where that is faster, in place.

    Weights, names and types of the modules stay as they are; other precisions and devices get the plain convolution.

    Args:
        model: of any architecture.
    """
    for module in model.modules():
        if WinogradConv2d.takes(module):
            # Not a subclass: whoever looks for convolutions, to fold batch norms into them say, still finds one
            module._conv_forward = convolve


def convolve(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """A 3x3 convolution with stride 1 and padding 1; by Winograd's algorithm in float32 on a CPU.

    Args:
        features: ``[B, C, h, w]``; one image without ``B``, or none, gets the plain convolution too.
        weight: ``[C', C, 3, 3]``.
        bias: ``[C']``.

    Returns:
        ``[B, C', h, w]``, stored as ``features`` are.
    """
    autocast = torch.is_autocast_enabled(features.device.type)
    plain = features.dtype != torch.float32 or features.device.type != "cpu" or autocast
    if plain or features.dim() != 4 or features.numel() == 0:
        return F.conv2d(features, weight, bias, padding=1)
    outputs = _Convolution.apply(features, weight)
    return outputs if bias is None else outputs + bias[:, None, None]


class _Convolution(torch.autograd.Function):
    """F(4x4, 3x3) of Lavin and Gray (CVPR 2016) forward; backward, the transposes of the same transforms.

    With tiles ``V`` of the input, ``M`` of the output and ``U`` of the kernel, ``M = V U``: so ``dU = V^T dM``. The
    gradient of the features is the convolution of the outputs' with the turned kernel. Transformed tensors are computed
    again in the backward pass instead of being kept: those of the kernel are four times its size.
    """

    @staticmethod
    def forward(ctx, features: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(features, weight)
        kernel = _kernel(weight, KERNEL_TRANSFORM)
        return _convolved(features, kernel.transpose(1, 2))

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        features, weight = ctx.saved_tensors
        of_features = of_weight = None
        if ctx.needs_input_grad[0]:
            # Turning a kernel by 180 degrees reverses the order of its nine taps
            of_features = _convolved(gradient, _kernel(weight, KERNEL_TRANSFORM.flip(1)))
        if ctx.needs_input_grad[1]:
            kernel = torch.bmm(_output_gradients(gradient).transpose(1, 2), _tiles(features))
            taps = KERNEL_TRANSFORM.to(weight).T @ kernel.view(TILE**2, -1)
            of_weight = taps.view(3, 3, *weight.shape[:2]).permute(2, 3, 0, 1).contiguous()
        return of_features, of_weight


def _kernel(weight: torch.Tensor, transform: torch.Tensor) -> torch.Tensor:
    """``[C', C, 3, 3]`` -> ``[36, C', C]``."""
    taps = weight.permute(2, 3, 0, 1).reshape(9, -1)
    return (transform.to(weight) @ taps).view(TILE**2, *weight.shape[:2])


def _tiles(features: torch.Tensor) -> torch.Tensor:
    return transformed_tiles(features, INPUT_TRANSFORM.to(features))


def _convolved(features: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """``[B, C, h, w]`` and a transformed kernel ``[36, C, C']`` -> ``[B, C', h, w]``."""
    products = torch.bmm(_tiles(features), kernel)
    outputs = outputs_of_tiles(products, OUTPUT_TRANSFORM.to(features), features).permute(0, 3, 1, 2)
    channels_last = features.is_contiguous(memory_format=torch.channels_last)
    return outputs.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def _output_gradients(gradient: torch.Tensor) -> torch.Tensor:
    """``[B, C', h, w]`` -> ``[36, tiles, C']``, the gradient of the products."""
    batch, channels, _, _ = gradient.shape
    rows, columns, below, right = tile_grid(gradient)
    padded = F.pad(gradient.permute(0, 2, 3, 1), (0, 0, 0, right, 0, below))
    tiles = padded.reshape(batch, rows, STEP, columns, STEP, channels).permute(2, 4, 0, 1, 3, 5)
    return (OUTPUT_TRANSFORM.to(gradient).T @ tiles.reshape(STEP**2, -1)).view(TILE**2, -1, channels)
