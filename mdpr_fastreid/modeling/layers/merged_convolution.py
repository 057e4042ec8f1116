"""Two convolutions with nothing between them, as one."""

import torch
from torch import nn


def merged_convolution(pointwise: nn.Conv2d, conv: nn.Conv2d) -> nn.Conv2d:
    """One convolution for a 1x1 convolution and the one that follows it with nothing between them.

    Raises:
        ValueError: they cannot be merged exactly: the first is not a plain 1x1 convolution, or it has a bias, which the
            zero padding of the second lets through everywhere but at the border.
    """
    plain = pointwise.kernel_size == (1, 1) and pointwise.stride == (1, 1) and pointwise.padding == (0, 0)
    if not plain or pointwise.groups != 1 or conv.groups != 1 or pointwise.bias is not None:
        raise ValueError(f"{pointwise} and {conv} are not one convolution")
    both = nn.Conv2d(
        pointwise.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        device="meta",
    )
    weight = torch.einsum("omhw,mi->oihw", conv.weight.detach().double(), pointwise.weight.detach().double()[..., 0, 0])
    both.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    both.bias = conv.bias
    return both.eval()
