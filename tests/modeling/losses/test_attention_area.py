"""AttentionAreaLoss against its formula in a loop."""

import pytest
import torch
from torch.autograd import gradcheck

from mdpr_fastreid.modeling.losses import AttentionAreaLoss


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("batch", "maps"), [(1, 1), (1, 3), (4, 2)])
def test_equals_the_formula(dtype, batch, maps):
    attention = torch.rand(batch, maps, 6, 3, generator=torch.Generator().manual_seed(3), dtype=dtype)
    total = sum(value for image in attention.tolist() for m in image for row in m for value in row)
    assert AttentionAreaLoss(scale=0.001)(attention).item() == pytest.approx(0.001 * total / batch, rel=1e-5)


def test_gradient_is_that_of_the_loss():
    assert gradcheck(AttentionAreaLoss(scale=0.5), (torch.rand(2, 2, 3, 2, dtype=torch.float64, requires_grad=True),))


def test_half_precision_does_not_overflow():
    attention = torch.ones(256, 4, 24, 12, dtype=torch.float16)
    assert AttentionAreaLoss(scale=1.0)(attention).item() == 4 * 24 * 12
