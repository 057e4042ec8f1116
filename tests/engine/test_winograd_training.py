"""Winograd's convolution and its gradients are those of the plain one, and training with it is training without."""

import copy

import pytest
import torch
import torch.nn.functional as F
from fastreid.engine import DefaultTrainer
from torch import nn

from mdpr_fastreid.engine.trainer import Trainer
from mdpr_fastreid.engine.winograd_training import convolve, train_with_winograd
from mdpr_fastreid.inference import fold
from tests.support.folding import relative_difference, with_random_batch_norms
from tests.support.settings import small_config


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("size", [(24, 12), (7, 5), (1, 1), (4, 6)])
def test_outputs_and_gradients_equal_the_plain_convolutions_in_float64(size, channels_last):
    torch.manual_seed(0)
    features, weight, bias = torch.randn(3, 16, *size), torch.randn(24, 16, 3, 3), torch.randn(24)
    if channels_last:
        features = features.contiguous(memory_format=torch.channels_last)
    inputs = [tensor.requires_grad_() for tensor in (features, weight, bias)]
    doubles = [tensor.detach().double().requires_grad_() for tensor in inputs]
    outputs, expected = convolve(*inputs), F.conv2d(*doubles, padding=1)
    gradient = torch.randn(expected.shape)
    outputs.backward(gradient)
    expected.backward(gradient.double())
    assert relative_difference(outputs.detach(), expected.detach()) < 1e-5
    for ours, plain in zip(inputs, doubles, strict=True):
        assert ours.grad.stride() == ours.stride() or ours.grad.is_contiguous()
        assert relative_difference(ours.grad, plain.grad) < 1e-5
    if channels_last:
        assert outputs.is_contiguous(memory_format=torch.channels_last)


def test_other_precisions_get_the_plain_convolution():
    features, weight = torch.randn(2, 8, 5, 4).double(), torch.randn(8, 8, 3, 3).double()
    assert torch.equal(convolve(features, weight), F.conv2d(features, weight, padding=1))
    with torch.autocast("cpu", torch.bfloat16):
        assert convolve(features.float(), weight.float()).dtype == torch.bfloat16


def test_only_the_trainer_on_a_cpu_asks_for_it_and_a_switch_turns_it_off():
    with_it = Trainer.build_model(small_config())
    layer4 = with_it.backbone.hard.stage4
    assert layer4[1].conv1._conv_forward is convolve
    assert type(layer4[1].conv1) is nn.Conv2d
    without = Trainer.build_model(small_config("SOLVER.WINOGRAD", False))
    assert without.backbone.hard.stage4[1].conv1._conv_forward is not convolve
    assert with_it.state_dict().keys() == without.state_dict().keys()


def test_losses_and_gradients_are_those_without_it():
    torch.manual_seed(0)
    plain = Trainer.build_model(small_config("SOLVER.WINOGRAD", False, "MODEL.MDPR.EMBEDDING_DIM", 128)).train()
    winograd = copy.deepcopy(plain)
    train_with_winograd(winograd)
    batch = {"images": torch.rand(8, 3, 96, 48) * 255, "targets": torch.arange(8) // 2}
    expected, losses = sum(plain(batch).values()), sum(winograd(batch).values())
    assert float(losses.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    expected.backward()
    losses.backward()
    name = "heads.fusion.output.1.weight"
    ours, theirs = (dict(model.named_parameters())[name].grad for model in (winograd, plain))
    assert relative_difference(ours, theirs) < 2e-2


def test_a_model_trained_with_it_is_folded_as_any_other():
    model = with_random_batch_norms(Trainer.build_model(small_config()))
    folded, images = fold(model), torch.rand(2, 3, 96, 48) * 255
    assert not any(getattr(module, "_conv_forward", None) is convolve for module in folded.modules())
    with torch.no_grad():
        assert relative_difference(folded(images), model(images)) < 1e-4


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_a_fused_step_is_the_stock_step(name):
    cfg = small_config("SOLVER.OPT", name)
    torch.manual_seed(0)
    fused_model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    stock_model, images = copy.deepcopy(fused_model), torch.rand(8, 6)
    for builder, model in ((Trainer, fused_model), (DefaultTrainer, stock_model)):
        optimizer, _ = builder.build_optimizer(cfg, model)
        assert all(group["fused"] is (True if builder is Trainer else None) for group in optimizer.param_groups)
        for _ in range(3):
            optimizer.zero_grad()
            model(images).square().sum().backward()
            optimizer.step()
    for ours, stock in zip(fused_model.parameters(), stock_model.parameters(), strict=True):
        torch.testing.assert_close(ours, stock, rtol=1e-5, atol=1e-6)


def test_the_switch_leaves_the_stock_step():
    optimizer, _ = Trainer.build_optimizer(small_config("SOLVER.FUSED", False), nn.Linear(3, 2))
    assert optimizer.param_groups[0]["fused"] is None
