"""Fusions of the branches' maps: each against its formula, and what the cheaper ones cost."""

import pytest
import torch
from support.settings import small_config, small_model
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mdpr_fastreid.config import check_config
from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.heads import FUSION_REGISTRY

E = 8
KINDS = ["full", "depthwise", "bottleneck"]


def fusion_of(kind: str) -> nn.Module:
    """In evaluation, in float64, with batch norms that change what they are given."""
    torch.manual_seed(0)
    fusion = FUSION_REGISTRY.get(kind)(E).double().eval()
    for module in fusion.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return fusion


def maps_of_branches() -> tuple:
    """The global map, three stripes of unequal heights, stage 4 and stage 3."""
    torch.manual_seed(1)
    whole = [torch.randn(2, E, 7, 3, dtype=torch.float64) for _ in range(3)]
    stripes = [torch.randn(2, E, rows, 3, dtype=torch.float64) for rows in (3, 2, 2)]
    return whole[0], stripes, *whole[1:]


def normed(x: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    mean, var, weight, bias = (
        getattr(norm, name)[:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + norm.eps).sqrt() * weight + bias


def mixed(x: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
    return torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], x)


def neighbours(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A 3x3 convolution, one of its nine positions after the other; ``weight`` is ``[C', C, 3, 3]``."""
    padded, rows, columns = F.pad(x, (1, 1, 1, 1)), x.size(2), x.size(3)
    return sum(
        torch.einsum("oc,bchw->bohw", weight[:, :, i, j], padded[:, :, i : i + rows, j : j + columns])
        for i in range(3)
        for j in range(3)
    )


def blended(kind: str, block: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    if kind == "bottleneck":
        narrow = normed(mixed(x, block[0]), block[1]).clamp_min(0)
        narrow = normed(neighbours(narrow, block[3].weight), block[4]).clamp_min(0)
        return (x + normed(mixed(narrow, block[6]), block[7])).clamp_min(0)
    weight = block[1].weight
    if kind == "depthwise":
        weight = torch.stack([torch.diag(weight[:, 0, i, j]) for i in range(3) for j in range(3)], dim=2)
        weight = weight.reshape(x.size(1), x.size(1), 3, 3)
    return normed(neighbours(mixed(x, block[0]), weight), block[2]).clamp_min(0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fusion_is_its_formula(kind):
    fusion, (whole, stripes, map4, map3) = fusion_of(kind), maps_of_branches()
    with torch.no_grad():
        hard = blended(kind, fusion.hard, torch.cat([blended(kind, fusion.stripes, torch.cat(stripes, 2)), whole], 1))
        soft = blended(kind, fusion.soft, torch.cat([map4, map3], 1))
        expected = blended(kind, fusion.output, torch.cat([hard, soft], 1))
        assert expected.shape == (2, 4 * E, 7, 3)
        torch.testing.assert_close(fusion(whole, stripes, map4, map3), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_its_gradient_is_that_of_differences(kind):
    torch.manual_seed(0)
    fusion = FUSION_REGISTRY.get(kind)(2).double().eval()
    whole, map4, map3 = (torch.randn(1, 2, 4, 2, dtype=torch.float64, requires_grad=True) for _ in range(3))
    upper, lower = (torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(
        lambda whole, upper, lower, map4, map3: fusion(whole, (upper, lower), map4, map3),
        (whole, upper, lower, map4, map3),
    )


def multiplications(kind: str) -> int:
    fusion = FUSION_REGISTRY.get(kind)(64).eval()
    x = torch.zeros(1, 64, 8, 4)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        fusion(x, (x,), x, x)
    return counter.get_total_flops() // 2


def test_the_cheaper_ones_have_the_multiplications_that_they_are_named_for():
    positions, squares = 8 * 4, (1 + 2 * 4 + 16) * 64**2
    assert multiplications("full") == 10 * squares * positions
    assert multiplications("depthwise") == (squares + 9 * (1 + 2 * 2 + 4) * 64) * positions
    assert multiplications("bottleneck") == (2 / 4 + 9 / 16) * squares * positions


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_it_is_trained(kind):
    model = small_model("MODEL.MDPR.FUSION.KIND", kind).train()
    batch = {"images": torch.rand(8, 3, 96, 48) * 255, "targets": torch.arange(8) // 2}
    sum(model(batch).values()).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.heads.fusion.parameters())


def test_a_fusion_that_is_not_there_is_refused_by_name():
    with pytest.raises(SettingsError, match="MODEL.MDPR.FUSION.KIND: .*'depthwize' in FUSION; did you mean depthwise"):
        check_config(small_config("MODEL.MDPR.FUSION.KIND", "depthwize"))
