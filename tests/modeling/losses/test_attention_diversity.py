"""AttentionDiversityLoss against its formula in a loop."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from mdpr_fastreid.modeling.losses import AttentionDiversityLoss


def slow(pooled):
    total = 0.0
    for i in range(pooled.size(1)):
        for j in range(i + 1, pooled.size(1)):
            cosines = [F.cosine_similarity(z[i], z[j], dim=0).item() for z in pooled]
            total += sum(cosines) / len(cosines)
    return total


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("maps", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 5])
def test_equals_the_formula(dtype, maps, batch):
    pooled = torch.randn(batch, maps, 6, generator=torch.Generator().manual_seed(2), dtype=dtype)
    loss = AttentionDiversityLoss(scale=0.5)(pooled).item()
    assert loss == pytest.approx(0.5 * slow(pooled), rel=1e-5, abs=1e-6 if dtype is torch.float32 else 1e-12)


def test_identical_maps_give_the_number_of_pairs():
    pooled = torch.randn(3, 1, 6).expand(3, 4, 6)
    assert AttentionDiversityLoss()(pooled).item() == pytest.approx(6, rel=1e-5)


def test_zero_vectors_count_nothing_and_get_no_gradient():
    pooled = torch.zeros(2, 3, 4)
    pooled[:, 0] = 1
    pooled.requires_grad_()
    loss = AttentionDiversityLoss()(pooled)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert pooled.grad.abs().max() < 1e-6


def test_gradient_is_that_of_the_loss():
    assert gradcheck(AttentionDiversityLoss(), (torch.randn(3, 3, 4, dtype=torch.float64, requires_grad=True),))


def test_half_precision_is_summed_in_float32():
    pooled = torch.full((4, 2, 2048), 8.0, dtype=torch.float16)
    assert AttentionDiversityLoss()(pooled).item() == pytest.approx(1.0, rel=1e-4)
