"""Training on a CPU in bfloat16: where maps are small, the gradient of a convolution's kernel is one matrix product."""

import torch
import torch.nn.functional as F
from torch import nn

LARGEST_MAP = 64
"""Cells of an image's output up to which the product is faster than oneDNN (docs/benchmarks/speed.md)."""


def train_in_bfloat16(model: nn.Module) -> None:
    """Let a model's convolutions compute gradients faster under bfloat16 autocast on a CPU, in place.

    oneDNN's gradient of a kernel takes 3 to 5 times as long as its forward pass where maps are small, as the last ones
    of 128x64 images are. Weights, names and types of the modules stay as they are; other precisions and devices get the
    plain convolution.

    Args:
        model: of any architecture.
    """
    for module in model.modules():
        if _takes(module):
            # Not a subclass: whoever looks for convolutions, to fold batch norms into them say, still finds one
            module._conv_forward = Convolve(module.stride, module.padding)


class Convolve:
    """A convolution without groups, dilation and bias; under bfloat16 autocast on a CPU with gradients of our own.

    Args:
        stride: along the height and the width.
        padding: likewise, with zeros.
    """

    def __init__(self, stride: tuple[int, int], padding: tuple[int, int]) -> None:
        self.stride = stride
        self.padding = padding

    def __call__(self, features: torch.Tensor, weight: torch.Tensor, bias: None = None) -> torch.Tensor:
        """Convolve ``[B, C, h, w]`` with ``[C', C, kh, kw]``; an image without ``B`` gets the plain convolution too."""
        on_cpu = features.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        learns = on_cpu and torch.is_grad_enabled() and features.dim() == 4 and features.numel() > 0
        if not learns or torch.get_autocast_dtype("cpu") != torch.bfloat16:
            return F.conv2d(features, weight, bias, self.stride, self.padding)
        return _Convolution.apply(features.bfloat16(), weight, self.stride, self.padding)


def _takes(module: nn.Module) -> bool:
    if not isinstance(module, nn.Conv2d) or module.bias is not None or module.padding_mode != "zeros":
        return False
    return module.groups == 1 and module.dilation == (1, 1) and not isinstance(module.padding, str)


class _Convolution(torch.autograd.Function):
    """Of features in bfloat16 with a kernel in float32, whose gradient is in float32 again."""

    @staticmethod
    def forward(ctx, features: torch.Tensor, weight: torch.Tensor, stride: tuple, padding: tuple) -> torch.Tensor:
        channels_last = features.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.preserve_format
        kernel = weight.to(torch.bfloat16, memory_format=layout)
        ctx.save_for_backward(features, kernel, weight)
        ctx.settings = stride, padding
        return F.conv2d(features, kernel, None, stride, padding)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        features, kernel, weight = ctx.saved_tensors
        of_features = of_kernel = None
        # Both in one call take oneDNN longer than one after the other
        if ctx.needs_input_grad[0]:
            of_features, _ = _plain_gradients(gradient, features, kernel, *ctx.settings, wanted=(True, False))
        if ctx.needs_input_grad[1]:
            if gradient.shape[2:].numel() <= LARGEST_MAP:
                of_kernel = _kernel_gradient(gradient, features, kernel, *ctx.settings)
            else:
                _, of_kernel = _plain_gradients(gradient, features, kernel, *ctx.settings, wanted=(False, True))
            of_kernel = torch.empty_like(weight).copy_(of_kernel)
        return of_features, of_kernel, None, None


def _plain_gradients(
    gradient: torch.Tensor,
    features: torch.Tensor,
    kernel: torch.Tensor,
    stride: tuple,
    padding: tuple,
    wanted: tuple[bool, bool],
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """PyTorch's gradients of features and kernel, those of both that are wanted."""
    settings = stride, padding, (1, 1), False, (0, 0), 1
    found = torch.ops.aten.convolution_backward(gradient, features, kernel, None, *settings, (*wanted, False))
    return found[:2]


def _kernel_gradient(
    gradient: torch.Tensor, features: torch.Tensor, kernel: torch.Tensor, stride: tuple, padding: tuple
) -> torch.Tensor:
    """``[C', C, kh, kw]``: the outputs' gradient ``[B, C', h', w']`` by what the kernel was multiplied with there."""
    outputs, channels, *window = kernel.shape
    rows, columns = padding
    padded = F.pad(features.permute(0, 2, 3, 1), (0, 0, columns, columns, rows, rows))
    image, row, column, channel = padded.stride()
    grid = (gradient.shape[0], *gradient.shape[2:])
    steps = (image, row * stride[0], column * stride[1])
    patches = padded.as_strided((*grid, *window, channels), (*steps, row, column, channel))
    cells = gradient.permute(0, 2, 3, 1).reshape(-1, outputs)
    products = cells.T @ patches.reshape(len(cells), -1)
    return products.view(outputs, *window, channels).permute(0, 3, 1, 2)
