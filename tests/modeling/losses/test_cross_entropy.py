"""CrossEntropyLoss against its formula in a loop and against FastReID."""

import math

import pytest
import torch
from fastreid.modeling.losses import cross_entropy_loss
from torch.autograd import gradcheck

from mdpr_fastreid.modeling.losses import CrossEntropyLoss


def slow(logits, targets, epsilon, alpha):
    total, counted = 0.0, 0
    for row, true in zip(logits.tolist(), targets.tolist(), strict=True):
        norm = sum(math.exp(value) for value in row)
        eps = alpha * math.exp(row[true]) / norm if epsilon < 0 else epsilon
        loss = 0.0
        for index, value in enumerate(row):
            target = 1 - eps if index == true else eps / (len(row) - 1)
            loss -= target * math.log(math.exp(value) / norm)
        total, counted = total + loss, counted + (loss != 0)
    return total / max(counted, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, -1.0])
@pytest.mark.parametrize("batch", [1, 7])
def test_equals_the_formula_and_fastreid(dtype, epsilon, batch):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, 5, generator=generator, dtype=dtype) * 3
    targets = torch.randint(5, (batch,), generator=generator)
    ours = CrossEntropyLoss(epsilon=epsilon, alpha=0.2, scale=2.0)(logits, targets).item()
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    assert ours == pytest.approx(2 * slow(logits, targets, epsilon, 0.2), rel=tolerance)
    assert ours == pytest.approx(2 * cross_entropy_loss(logits, targets, epsilon, 0.2).item(), rel=tolerance)


def test_samples_without_any_loss_do_not_count_as_in_fastreid():
    logits = torch.tensor([[1000.0, 0.0], [0.0, 1.0], [0.0, 2000.0]])
    targets = torch.tensor([0, 0, 1])
    ours = CrossEntropyLoss(epsilon=0.0)(logits, targets)
    torch.testing.assert_close(ours, cross_entropy_loss(logits, targets, 0.0))
    assert ours.item() == pytest.approx(math.log(1 + math.e))


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_gradient_is_that_of_the_loss(epsilon):
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(CrossEntropyLoss(epsilon=epsilon), (logits, torch.tensor([0, 1, 2, 1])))


def test_adaptive_smoothing_does_not_pass_a_gradient_through_epsilon():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 1, 2, 1])
    (ours,) = torch.autograd.grad(CrossEntropyLoss(epsilon=-1.0)(logits, targets), logits)
    (stock,) = torch.autograd.grad(cross_entropy_loss(logits, targets, -1.0), logits)
    torch.testing.assert_close(ours, stock)
