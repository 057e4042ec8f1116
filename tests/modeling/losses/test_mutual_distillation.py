"""MutualDistillationLoss against its formula in a loop."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from mdpr_fastreid.modeling.losses import MutualDistillationLoss


def slow(predicted2, feature2, predicted1, feature1):
    def mean_cosine(a, b):
        return sum(F.cosine_similarity(x, y, dim=0).item() for x, y in zip(a, b, strict=True)) / len(a)

    return -(mean_cosine(predicted2, feature2) + mean_cosine(predicted1, feature1)) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 6])
def test_equals_the_formula(dtype, batch):
    vectors = torch.randn(4, batch, 5, generator=torch.Generator().manual_seed(4), dtype=dtype)
    loss = MutualDistillationLoss(scale=3.0)(*vectors).item()
    assert loss == pytest.approx(3 * slow(*vectors), rel=1e-5 if dtype is torch.float32 else 1e-12)


def test_perfect_predictions_reach_minus_the_scale():
    features = torch.randn(2, 4, 5)
    loss = MutualDistillationLoss(scale=2.0)(3 * features[1], features[1], features[0], features[0])
    assert loss.item() == pytest.approx(-2.0)


def test_targets_get_no_gradient_and_predictions_do():
    predicted2, feature2, predicted1, feature1 = (torch.randn(3, 4, requires_grad=True) for _ in range(4))
    MutualDistillationLoss()(predicted2, feature2, predicted1, feature1).backward()
    assert feature1.grad is None and feature2.grad is None
    assert predicted1.grad.abs().sum() > 0 and predicted2.grad.abs().sum() > 0


def test_gradient_is_that_of_the_loss():
    feature2, feature1 = torch.randn(2, 3, 4, dtype=torch.float64)
    predicted2, predicted1 = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert gradcheck(lambda a, b: MutualDistillationLoss()(a, feature2, b, feature1), (predicted2, predicted1))


def test_zero_vectors_have_no_direction_and_no_gradient():
    zeros = torch.zeros(2, 3, requires_grad=True)
    loss = MutualDistillationLoss()(zeros, torch.ones(2, 3), zeros, torch.ones(2, 3))
    loss.backward()
    assert loss.item() == 0
    assert zeros.grad.abs().max() == 0
