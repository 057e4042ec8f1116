"""Gradients of convolutions in bfloat16 are the plain ones, and training with them is training without."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mdpr_fastreid.engine import bfloat16_training, trainer
from mdpr_fastreid.engine.bfloat16_training import Convolve, train_in_bfloat16
from mdpr_fastreid.engine.trainer import Trainer
from mdpr_fastreid.inference import fold
from tests.support.folding import relative_difference, with_random_batch_norms
from tests.support.settings import small_config

CASES = [
    ((3, 16, 8, 4), (24, 16, 3, 3), 1, 1),
    ((3, 16, 9, 5), (24, 16, 3, 3), 2, 1),
    ((2, 8, 8, 8), (5, 8, 1, 1), 1, 0),
    ((2, 8, 7, 9), (5, 8, 1, 1), 2, 0),
    ((2, 3, 16, 8), (8, 3, 7, 7), 2, 3),
    ((2, 6, 9, 8), (4, 6, 3, 2), (2, 1), (0, 1)),
    ((1, 4, 1, 1), (4, 4, 3, 3), 1, 1),
    ((2, 4, 16, 12), (4, 4, 3, 3), 1, 1),  # a larger map: oneDNN's gradient
]


def gradients(convolve, features, weight, *, double=False):
    """Outputs, and gradients of features and weight for an output's gradient that is the same in every call."""
    if double:
        features, weight = features.bfloat16().double(), weight.bfloat16().double()
    inputs = [features.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()]
    outputs = convolve(*inputs)
    given = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(outputs)
    outputs.backward(given)
    return outputs.detach(), *(one.grad for one in inputs)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), CASES)
def test_outputs_and_gradients_equal_float64s_but_for_rounding(shape, kernel, stride, padding, channels_last):
    torch.manual_seed(0)
    conv = nn.Conv2d(kernel[1], kernel[0], kernel[2:], stride, padding, bias=False)
    features, weight = torch.randn(shape), torch.randn(kernel)
    if channels_last:
        features = features.contiguous(memory_format=torch.channels_last)

    def ours(images, weights):
        with torch.autocast("cpu", torch.bfloat16):
            return Convolve(conv.stride, conv.padding)(images, weights)

    expected = gradients(
        lambda images, weights: F.conv2d(images, weights, None, stride, padding), features, weight, double=True
    )
    found = gradients(ours, features, weight)
    assert [one.dtype for one in found] == [torch.bfloat16, torch.float32, torch.float32]
    for one, exact in zip(found, expected, strict=True):
        # bfloat16 has 8 bits: one rounding is 2e-3 at most. Processors without bfloat16 round sums midway, too
        assert relative_difference(one, exact) < 8e-3
    assert found[2].stride() == weight.stride()


def test_small_maps_are_multiplied_and_larger_ones_left_to_pytorch(monkeypatch):
    called = []
    plain, own = bfloat16_training._plain_gradients, bfloat16_training._kernel_gradient
    monkeypatch.setattr(
        bfloat16_training,
        "_plain_gradients",
        lambda *args, wanted: called.append(wanted) or plain(*args, wanted=wanted),
    )
    monkeypatch.setattr(bfloat16_training, "_kernel_gradient", lambda *args: called.append("own") or own(*args))
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    train_in_bfloat16(conv)
    for size, expected in (((8, 8), [(True, False), "own"]), ((9, 8), [(True, False), (False, True)])):
        with torch.autocast("cpu", torch.bfloat16):
            outputs = conv(torch.randn(2, 4, *size, requires_grad=True))
        outputs.sum().backward()
        assert called == expected
        called.clear()


def test_features_without_a_gradient_and_frozen_weights_get_none():
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    train_in_bfloat16(conv)
    images = torch.randn(2, 4, 5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        conv(images).sum().backward()
        assert images.grad is None and conv.weight.grad is not None
        conv.weight.grad = None
        conv.weight.requires_grad_(False)
        conv(images.requires_grad_()).sum().backward()
    assert images.grad is not None and conv.weight.grad is None


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, groups=2, bias=False),
        nn.Conv2d(4, 4, 3, dilation=2, bias=False),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, padding="same", bias=False),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", bias=False),
    ],
    ids=["groups", "dilation", "bias", "same", "reflect"],
)
def test_other_convolutions_stay_as_they_are(conv):
    train_in_bfloat16(conv)
    assert "_conv_forward" not in vars(conv)


def test_other_precisions_evaluation_and_odd_inputs_get_the_plain_convolution():
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    plain = copy.deepcopy(conv)
    train_in_bfloat16(conv)
    images = torch.randn(2, 4, 5, 4)
    assert torch.equal(conv(images), plain(images))
    with torch.autocast("cpu", torch.bfloat16):
        for given in (images[:0], images[0]):
            assert torch.equal(conv(given), plain(given))
        with torch.no_grad():
            assert torch.equal(conv(images), plain(images))
    with torch.autocast("cpu", torch.float16):
        assert conv(images).dtype == plain(images).dtype


@pytest.mark.parametrize(
    ("overrides", "taken"),
    [
        (("SOLVER.AMP.DTYPE", "bfloat16"), True),
        (("SOLVER.AMP.DTYPE", "bfloat16", "SOLVER.PRODUCT_GRADIENTS", False), False),
        (("SOLVER.AMP.DTYPE", "float16"), False),
        (("SOLVER.AMP.DTYPE", "bfloat16", "SOLVER.AMP.ENABLED", False), False),
    ],
)
def test_the_trainer_asks_for_it_where_it_trains_in_bfloat16(overrides, taken, monkeypatch):
    # As on a processor that computes in bfloat16
    monkeypatch.setattr(
        trainer, "autocast_dtype", lambda _, precision: torch.bfloat16 if precision == "bfloat16" else None
    )
    model = Trainer.build_model(small_config("SOLVER.AMP.ENABLED", True, *overrides))
    conv = model.backbone.hard.stage4[1].conv1
    assert isinstance(conv._conv_forward, Convolve) == taken
    assert type(conv) is nn.Conv2d


def test_losses_and_gradients_of_mdpr_are_those_without_it():
    torch.manual_seed(0)
    plain = Trainer.build_model(small_config("SOLVER.WINOGRAD", False)).train()
    ours = copy.deepcopy(plain)
    train_in_bfloat16(ours)
    batch = {"images": torch.rand(8, 3, 96, 48) * 255, "targets": torch.arange(8) // 2}
    losses = []
    for model in (plain, ours):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(sum(model(batch).values()))
        losses[-1].backward()
    assert float(losses[1].detach()) == float(losses[0].detach())
    theirs = dict(plain.named_parameters())
    for name, parameter in ours.named_parameters():
        # Roundings of bfloat16 add up on the way back, in either
        given = theirs[name].grad
        assert (parameter.grad is None) == (given is None)
        assert given is None or relative_difference(parameter.grad, given) < 0.05, name


def test_a_model_trained_with_it_is_copied_and_folded_as_any_other():
    model = with_random_batch_norms(Trainer.build_model(small_config("SOLVER.WINOGRAD", False)))
    train_in_bfloat16(model)
    folded, images = fold(copy.deepcopy(model)), torch.rand(2, 3, 96, 48) * 255
    with torch.no_grad():
        assert relative_difference(folded(images), model(images)) < 1e-4
