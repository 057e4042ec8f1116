"""Batch norms fold into the convolution that they alone read, and into nothing else."""

import copy

import pytest
import torch
from fastreid.layers import IBN, get_norm
from fastreid.layers.non_local import Non_local
from fastreid.layers.splat import SplAtConv2d
from fastreid.modeling.backbones.repvgg import RepVGGBlock
from support.folding import relative_difference, with_random_batch_norms
from torch import nn

from mdpr_fastreid.inference.batch_norm import ScaleShift, fold_batch_norms, is_batch_norm, scale_shift
from mdpr_fastreid.inference.winograd import WinogradConv2d


class _Wired(nn.Module):
    """A convolution, a batch norm, and a way to wire them."""

    def __init__(self, wiring: str):
        super().__init__()
        self.wiring = wiring
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.other = nn.Conv2d(4, 4, 1)
        self.bn = get_norm("BN", 4)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        before = self.conv(features)
        if self.wiring == "convolution read twice":
            return self.bn(before) + before
        if self.wiring == "batch norm run twice":
            return self.bn(before) + self.bn(features)
        if self.wiring == "batch norm of a sum":
            return self.bn(before + self.other(features))
        return self.bn(self.other(before.relu()))


def left(module: nn.Module) -> int:
    return sum(is_batch_norm(child) for child in module.modules())


@pytest.mark.parametrize(
    ("wiring", "remaining"),
    [
        ("convolution read twice", 1),
        ("batch norm run twice", 1),
        ("batch norm of a sum", 1),
        ("declared in another order than run", 0),
    ],
)
def test_what_folds_is_what_the_computation_allows_and_not_the_order_of_declaration(wiring, remaining):
    module = with_random_batch_norms(_Wired(wiring))
    images = torch.randn(2, 4, 5, 3)
    folded = fold_batch_norms(copy.deepcopy(module))
    torch.testing.assert_close(folded(images), module(images), rtol=1e-5, atol=1e-5)
    assert left(folded) == remaining


@pytest.mark.parametrize("norm", ["BN", "syncBN", "GhostBN", "FrozenBN"])
@pytest.mark.parametrize("options", [{}, {"groups": 2, "bias": False}, {"stride": 2}])
def test_every_batch_norm_of_the_toolbox_folds_into_every_convolution(norm, options):
    module = with_random_batch_norms(nn.Sequential(nn.Conv2d(4, 6, 3, **options), get_norm(norm, 6), nn.ReLU()))
    images = torch.randn(2, 4, 8, 8)
    expected = module(images)
    folded = fold_batch_norms(module)
    torch.testing.assert_close(folded(images), expected, rtol=1e-5, atol=1e-6)
    assert left(folded) == 0


@pytest.mark.parametrize(
    ("make", "channels"),
    [
        (lambda: nn.Sequential(nn.Conv2d(8, 8, 3), IBN(8, "BN")), 8),
        (lambda: Non_local(8, "BN"), 8),
        (lambda: SplAtConv2d(8, 8, 3, padding=(1, 1), norm_layer="BN"), 8),
        (lambda: RepVGGBlock(8, 8, "BN", 3, padding=1), 8),
        (lambda: RepVGGBlock(8, 16, "BN", 3, stride=2, padding=1, groups=2), 8),
    ],
    ids=["IBN", "non-local", "split attention", "RepVGG", "RepVGG with groups"],
)
def test_blocks_that_are_no_plain_sequence_compute_what_they_did(make, channels):
    torch.manual_seed(0)
    module = with_random_batch_norms(make())
    images = torch.randn(2, channels, 7, 5)
    with torch.no_grad():
        expected = module(images)
        folded = fold_batch_norms(module)
        assert relative_difference(folded(images), expected) < 1e-6
    assert left(folded) == 0


def test_repvggs_branches_become_one_convolution():
    folded = fold_batch_norms(with_random_batch_norms(RepVGGBlock(8, 8, "BN", 3, padding=1)))
    assert [type(layer) for layer in folded] == [nn.Conv2d, nn.ReLU]


def test_a_batch_norm_without_statistics_stays():
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    assert isinstance(fold_batch_norms(module)[1], nn.BatchNorm2d)


class _BatchNormWithActivation(nn.BatchNorm2d):
    """As timm's ``BatchNormAct2d``: the activation is inside."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(features).relu()


class _StandardizedConv2d(nn.Conv2d):
    """As timm's ``StdConv2d``: what it convolves with is not the weight that it holds."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        mean, variance = self.weight.mean(dim=(1, 2, 3), keepdim=True), self.weight.var(dim=(1, 2, 3), keepdim=True)
        return self._conv_forward(features, (self.weight - mean) * variance.rsqrt(), self.bias)


@pytest.mark.parametrize(
    "make",
    [
        lambda: (nn.Conv2d(4, 8, 3), _BatchNormWithActivation(8)),
        lambda: (_StandardizedConv2d(4, 8, 3), nn.BatchNorm2d(8)),
        lambda: (nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 8, 3)), nn.BatchNorm2d(8)),
    ],
    ids=["batch norm with activation", "standardised weight", "normalised weight"],
)
def test_layers_that_do_more_than_their_name_says_are_left_alone(make):
    torch.manual_seed(0)
    module = with_random_batch_norms(nn.Sequential(*make(), nn.Conv2d(8, 4, 1)))
    images = torch.randn(2, 4, 7, 5)
    with torch.no_grad():
        expected = module(images)
        torch.testing.assert_close(fold_batch_norms(copy.deepcopy(module))(images), expected)


def test_a_convolution_with_a_weight_of_its_own_making_is_not_computed_by_winograds_algorithm():
    assert WinogradConv2d.takes(nn.Conv2d(128, 128, 3, padding=1))
    assert not WinogradConv2d.takes(_StandardizedConv2d(128, 128, 3, padding=1))


def test_a_neck_is_one_multiplication_and_addition():
    norm = with_random_batch_norms(nn.BatchNorm2d(5))
    folded = scale_shift(norm)
    assert isinstance(folded, ScaleShift)
    features = torch.randn(3, 5, 1, 1)
    torch.testing.assert_close(folded(features), norm(features))
