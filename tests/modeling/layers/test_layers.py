"""MDPR's layers against their formulas."""

import pytest
import torch
from fastreid.layers.any_softmax import CircleSoftmax as FastReIDCircleSoftmax
from torch.nn import functional as F

from mdpr_fastreid.modeling.layers import AttentionMaker, AttentionPooling, CircleSoftmax, Embedding, foreground


def test_embedding_is_convolution_batch_norm_relu():
    layer, x = Embedding(5, 3).eval(), torch.randn(2, 5, 4, 2)
    with torch.no_grad():
        layer.bn.running_mean.normal_()
        mixed = torch.einsum("oc,bchw->bohw", layer.conv.weight[:, :, 0, 0], x)
        normed = (mixed - layer.bn.running_mean[:, None, None]) / (1 + layer.bn.eps) ** 0.5
        torch.testing.assert_close(layer(x), normed.clamp_min(0))


def test_attention_of_a_position_sums_to_one_with_the_background():
    scores = torch.randn(2, 4, 3, 5)
    attention = foreground(scores)
    assert attention.shape == (2, 3, 3, 5)
    assert (attention > 0).all() and (attention.sum(dim=1) < 1).all()
    torch.testing.assert_close(attention[1, 2, 0, 3], scores[1, :, 0, 3].exp()[2] / scores[1, :, 0, 3].exp().sum())


def test_attention_maker_sees_neighbours_and_gives_one_map_more_for_the_background():
    maker = AttentionMaker(6, 2).eval()
    x = torch.randn(1, 6, 5, 5)
    moved = x.clone()
    moved[:, :, 0, 0] += 1
    changed = (maker(moved) - maker(x)).abs().sum(dim=1)[0]
    assert maker(x).shape == (1, 3, 5, 5)
    assert changed[2:].abs().max() == 0 and changed[:, 2:].abs().max() == 0


@pytest.mark.parametrize("maps", [1, 3])
def test_attention_pooling_is_gem_of_what_each_map_shows(maps):
    pooling, x = AttentionPooling(6, 4, maps).eval(), torch.randn(2, 6, 3, 2)
    attention = torch.rand(2, maps, 3, 2)
    with torch.no_grad():
        pooled = pooling(x, attention)
        assert pooled.shape == (2, maps, 4)
        for m in range(maps):
            embedded = pooling.embeddings[m](x * attention[:, m, None]).clamp_min(1e-6)
            expected = (embedded**3).mean(dim=(2, 3)) ** (1 / 3)
            torch.testing.assert_close(pooled[:, m], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_circle_softmax_equals_fastreids(dtype):
    logits = F.normalize(torch.randn(6, 6, dtype=dtype)).requires_grad_()
    targets = torch.tensor([0, 3, -1, 5, 2, -1])
    ours = CircleSoftmax(6, 64, 0.35)(logits, targets)
    stock = FastReIDCircleSoftmax(6, 64, 0.35)(logits.clone(), targets)
    torch.testing.assert_close(ours, stock)
    weights = torch.randn_like(ours)
    torch.testing.assert_close(
        *(torch.autograd.grad((out * weights).sum(), logits, retain_graph=True)[0] for out in (ours, stock))
    )
