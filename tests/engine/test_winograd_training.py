"""Winograd's convolution and its gradients are those of the plain one, and training with it is training without."""

import copy

import pytest
import torch
import torch.nn.functional as F
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


@pytest.mark.parametrize("shape", [(0, 128, 4, 4), (128, 4, 4)])
def test_no_image_and_an_image_without_a_batch_are_convolved_as_by_the_plain_one(shape):
    conv = nn.Conv2d(128, 128, 3, padding=1)
    features = torch.randn(shape)
    expected = conv(features)
    train_with_winograd(conv)
    assert torch.equal(conv(features), expected)


def test_second_derivatives_are_the_plain_convolutions():
    found = []
    for function, dtype in ((convolve, torch.float32), (lambda x, k: F.conv2d(x, k, padding=1), torch.float64)):
        generator = torch.Generator().manual_seed(0)
        features, weight = (torch.randn(shape, generator=generator) for shape in ((2, 8, 5, 4), (8, 8, 3, 3)))
        features, weight = features.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()
        (first,) = torch.autograd.grad(function(features, weight).square().sum(), features, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), weight)[0])
    assert relative_difference(found[0], found[1]) < 1e-5


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
