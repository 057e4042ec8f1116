"""Multiply-adds and parameters against counts made by hand."""

import pytest
import torch
from torch import nn

from mdpr_fastreid.bench.cost import counted, multiply_adds, parameters, training_multiply_adds
from mdpr_fastreid.engine.steps import TrainingStep
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling.layers import AttentionPooling


class SmallNetwork(nn.Module):
    """Every kind of arithmetic that is counted, and some that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.linear = nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(self.bn(self.conv(images)).relu())
        pooled = torch.einsum("bchw,bdhw->bcd", x, x)
        return self.linear(pooled).flatten(1)


def test_a_small_network_costs_what_is_counted_by_hand():
    positions = 6 * 4
    by_hand = positions * 8 * 27 + positions * 8 * 9 + 8 * 8 * positions + 8 * 8 * 5
    assert multiply_adds(SmallNetwork(), (12, 8)) == by_hand


def test_attention_pooling_costs_an_embedding_a_map():
    pooling = AttentionPooling(in_channels=16, embedding_dim=4, maps=3).eval()
    features, attention = torch.rand(2, 16, 5, 4), torch.rand(2, 3, 5, 4)
    assert counted(lambda: pooling(features, attention)) == 2 * 3 * (5 * 4) * 16 * 4


def test_a_training_step_costs_both_gradients_of_each_product():
    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 4)

        def forward(self, batch: dict) -> dict:
            return {"loss": self.second(self.first(batch["images"].mean((2, 3)))).sum()}

    model = Step()
    model.first = nn.Linear(3, 5)
    batch = {"images": torch.rand(7, 3, 2, 2), "targets": torch.zeros(7)}
    # The images need no gradient, so the first layer has one product less in the backward pass
    step = TrainingStep(model, [], torch.optim.SGD(model.parameters()), [], precision="float32")
    assert training_multiply_adds(step.add_gradients, batch) == 2 * 3 * 5 + 3 * 5 * 4


def test_the_model_stays_as_it_was():
    model = SmallNetwork().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    multiply_adds(model, (12, 8))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_parameters_are_what_is_learned():
    assert parameters(SmallNetwork()) == (3 * 9 * 8 + 8) + 2 * 8 + (9 * 8 + 8) + (8 * 5 + 5)


@pytest.mark.parametrize("size", [(0, 8), (12,), (12, -1)])
def test_a_size_that_is_none_is_told(size):
    with pytest.raises(UsageError, match="height and a width"):
        multiply_adds(SmallNetwork(), size)
