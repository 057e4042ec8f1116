"""Winograd's convolution equals the plain one, computed in float64."""

import pytest
import torch
import torch.nn.functional as F
from support.folding import relative_difference
from torch import nn

from mdpr_fastreid.inference.winograd import MIN_CHANNELS, WinogradConv2d, use_winograd


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(24, 12), (8, 4), (7, 5), (1, 1), (3, 9), (4, 6)])
def test_it_equals_the_plain_convolution_whether_or_not_tiles_fit_the_map(size, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 24, 3, padding=1, bias=bias).requires_grad_(False)
    features = torch.randn(3, 16, *size)
    expected = F.conv2d(features.double(), conv.weight.double(), conv.bias.double() if bias else None, padding=1)
    outputs = WinogradConv2d(conv)(features.to(memory_format=torch.channels_last))
    assert outputs.shape == expected.shape and outputs.is_contiguous(memory_format=torch.channels_last)
    assert relative_difference(outputs, expected) < 3e-6


def test_the_widest_convolution_of_mdpr_stays_far_below_the_promised_error():
    channels = 2048
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, 8, 3, padding=1).requires_grad_(False)
    features = torch.randn(1, channels, 8, 4).relu()
    expected = F.conv2d(features.double(), conv.weight.double(), conv.bias.double(), padding=1)
    assert relative_difference(WinogradConv2d(conv)(features), expected) < 2e-5


@pytest.mark.parametrize(
    "options",
    [{"stride": 2}, {"padding": 0}, {"dilation": 2, "padding": 2}, {"groups": 2}, {"padding_mode": "reflect"}],
)
def test_convolutions_it_does_not_compute_are_left_alone(options):
    wide = MIN_CHANNELS
    network = nn.Sequential(
        nn.Conv2d(wide, wide, 3, **{"padding": 1, **options}),
        nn.Conv2d(wide, wide, 1),
        nn.Conv2d(wide - 1, wide, 3, padding=1),
        nn.Conv2d(wide, wide, 3, padding=1),
    )
    use_winograd(network)
    assert [type(layer) for layer in network] == [nn.Conv2d, nn.Conv2d, nn.Conv2d, WinogradConv2d]
