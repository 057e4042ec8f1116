"""Synchronised batch norm; that two processes are one: tests/engine/test_whole_batch.py."""

import pytest
import torch
from fastreid.layers import IBN, get_norm
from fastreid.modeling.heads import EmbeddingHead
from fastreid.utils.precision_bn import get_bn_modules
from torch import nn

from mdpr_fastreid.modeling import all_processes
from mdpr_fastreid.modeling.layers import SyncBatchNorm, synchronized_batch_norm


def copies(tensor):
    """As if each of three processes had this tensor."""
    return torch.stack([tensor] * 3)


@pytest.fixture
def of_three(monkeypatch):
    """Three processes with the same images."""
    monkeypatch.setattr(all_processes, "process_count", lambda: 3)
    monkeypatch.setattr(synchronized_batch_norm, "gathered", copies)
    monkeypatch.setattr(synchronized_batch_norm.dist, "all_reduce", lambda tensor: tensor.mul_(3))


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3, 2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_it_is_a_batch_norm_of_all_images_but_for_the_unbiased_variance(of_three, shape, dtype):
    torch.manual_seed(0)
    exact = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 3e-2, "atol": 3e-2}
    ours, plain = SyncBatchNorm(4), nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4)
    ours.weight.data = plain.weight.data = torch.tensor([1.0, -2, 0.5, 3])
    if dtype == torch.float64:
        ours.double(), plain.double()
    features = torch.randn(shape, dtype=dtype) * 3 + 7
    gradient = torch.randn(shape, dtype=dtype)
    results = []
    for norm in (ours, plain):
        given = features.clone().requires_grad_()
        outputs = norm(given)
        outputs.backward(gradient)
        results.append((outputs, given.grad, norm.weight.grad, norm.bias.grad, norm.running_mean))
    torch.testing.assert_close(*results, **exact)
    images = features.numel() // 4
    unbiased = (plain.running_var - 0.9) * (images - 1) * 3 / (images * 3 - 1) + 0.9
    torch.testing.assert_close(ours.running_var, unbiased, **exact)
    assert ours.num_batches_tracked == 1


def test_rows_of_all_processes_are_not_synchronised_again(of_three):
    features = torch.randn(5, 4, 2, 2)
    ours, plain = SyncBatchNorm(4), nn.BatchNorm2d(4)
    with all_processes.with_all_rows():
        assert torch.equal(ours(features), plain(features))
    assert torch.equal(ours.running_var, plain.running_var)
    assert torch.equal(ours.eval()(features), plain.eval()(features))


def test_it_is_fastreids_sync_bn_wherever_that_is_named_and_has_the_weights_of_a_batch_norm():
    norm = get_norm("syncBN", 4, bias_freeze=True)
    assert type(norm) is SyncBatchNorm
    assert (norm.weight.requires_grad, norm.bias.requires_grad) == (True, False)
    assert type(IBN(8, "syncBN").BN) is SyncBatchNorm
    head = EmbeddingHead(feat_dim=4, embedding_dim=0, num_classes=2, neck_feat="after", pool_type="Identity",
                         cls_type="Linear", scale=1, margin=0, with_bnneck=True, norm_type="syncBN")  # fmt: skip
    assert type(head.bottleneck[0]) is SyncBatchNorm
    norm.load_state_dict(nn.BatchNorm2d(4).state_dict())
    assert get_bn_modules(nn.Sequential(norm)) == [norm]
    assert get_norm("", 4) is None


def test_an_input_without_channels_is_an_error(of_three):
    with pytest.raises(ValueError, match="expected at least 2D input"):
        SyncBatchNorm(4)(torch.ones(4))
