"""TripletLoss against its formula in a loop and against FastReID."""

import math

import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling.losses import triplet_loss
from torch.autograd import gradcheck

from mdpr_fastreid.modeling.losses import TripletLoss

TARGETS = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3])


def slow(embedding, targets, margin, normalize, hard_mining):
    if normalize:
        embedding = F.normalize(embedding)
    losses = []
    for i, anchor in enumerate(embedding):
        near, far = [], []
        for j, other in enumerate(embedding):
            distance = (anchor - other).norm().item()
            (near if targets[i] == targets[j] else far).append(distance**2 if normalize else distance)
        if not far:
            losses.append(0.0)
            continue
        if hard_mining:
            positive, negative = max(near), min(far)
        else:
            positive = sum(d * math.exp(d) for d in near) / sum(math.exp(d) for d in near)
            negative = sum(d * math.exp(-d) for d in far) / sum(math.exp(-d) for d in far)
        gap = positive - negative
        losses.append(max(0.0, gap + margin) if margin > 0 else math.log1p(math.exp(gap)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("hard_mining", [False, True])
def test_equals_the_formula_and_fastreid(dtype, margin, normalize, hard_mining):
    embedding = torch.randn(8, 6, generator=torch.Generator().manual_seed(1), dtype=dtype)
    ours = TripletLoss(margin=margin, normalize=normalize, hard_mining=hard_mining)(embedding, TARGETS).item()
    assert ours == pytest.approx(
        slow(embedding, TARGETS, margin, normalize, hard_mining), rel=1e-5 if dtype is torch.float32 else 1e-10
    )
    stock = triplet_loss(embedding, TARGETS, margin, normalize, hard_mining).item()
    # FastReID adds 1e-6 to the sum of the weights, and keeps 1e-6 as the distance of a sample to itself.
    assert ours == pytest.approx(stock, rel=1e-4)


@pytest.mark.parametrize("hard_mining", [False, True])
def test_gradient_is_that_of_the_loss(hard_mining):
    embedding = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: TripletLoss(margin=5.0, hard_mining=hard_mining)(x, TARGETS), (embedding,))


@pytest.mark.parametrize("hard_mining", [False, True])
@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("targets", [[0, 0, 0], [0]], ids=["one identity", "one sample"])
def test_a_batch_without_negatives_costs_nothing(targets, margin, hard_mining):
    embedding = torch.randn(len(targets), 4, requires_grad=True)
    loss = TripletLoss(margin=margin, hard_mining=hard_mining)(embedding, torch.tensor(targets))
    loss.backward()
    assert loss.item() == 0
    assert embedding.grad.abs().max() == 0


def test_identical_and_zero_embeddings_give_the_margin_and_a_finite_gradient():
    for embedding in (torch.ones(4, 3), torch.zeros(4, 3)):
        embedding.requires_grad_()
        loss = TripletLoss(margin=0.3)(embedding, torch.tensor([0, 0, 1, 1]))
        loss.backward()
        assert loss.item() == pytest.approx(0.3)
        assert embedding.grad.isfinite().all()


def test_close_pairs_keep_their_distance_far_from_the_origin():
    embedding = torch.tensor([[1000.0, 0.0], [1000.0, 0.01], [1000.0, 1.0]])
    loss = TripletLoss(margin=1.0)(embedding, torch.tensor([0, 0, 1]))
    assert loss.item() == pytest.approx((0.01 + 0.02 + 0.01) / 3, rel=1e-2)
