"""Switches that change how a training step is computed, and not what."""

import copy

import pytest
import torch
from small_runs import logged_by_fastreid
from support.settings import small_model

from mdpr_fastreid.errors import SettingsError


def step(model):
    """Losses, gradients and buffers after one training step's forward and backward pass."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 96, 48, generator=generator, dtype=torch.float64) * 255
    torch.manual_seed(0)
    losses = model(batch := {"images": images, "targets": torch.arange(8) // 2})
    sum(losses.values()).backward()
    assert batch["images"].is_contiguous()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return losses, gradients, dict(model.named_buffers())


def with_switches(*overrides):
    torch.manual_seed(1)
    return small_model(*overrides).double().train()


@pytest.mark.parametrize(("stages", "channels_last"), [((3, 4), False), ((3,), True)], ids=str)
def test_losses_gradients_and_statistics_are_those_of_the_plain_path(stages, channels_last):
    plain = step(with_switches("MODEL.CHANNELS_LAST", False))
    switched = step(with_switches("MODEL.MDPR.CHECKPOINT_STAGES", stages, "MODEL.CHANNELS_LAST", channels_last))
    for expected, actual in zip(plain, switched, strict=True):
        assert expected.keys() == actual.keys()
        for name, value in expected.items():
            torch.testing.assert_close(actual[name], value, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_checkpointed_stages_keep_less_for_the_backward_pass():
    kept = [saved_bytes(with_switches("MODEL.MDPR.CHECKPOINT_STAGES", stages)) for stages in ((), (3,), (3, 4))]
    assert kept[0] > 1.2 * kept[1] > 1.2 * kept[2]


def saved_bytes(model):
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model({"images": torch.rand(8, 3, 96, 48, dtype=torch.float64), "targets": torch.arange(8) // 2})
    assert losses
    return sum(saved.values())


def test_a_stage_that_does_not_exist_cannot_be_checkpointed():
    with pytest.raises(SettingsError, match="CHECKPOINT_STAGES"):
        small_model("MODEL.MDPR.CHECKPOINT_STAGES", (2,))


def test_a_compiled_model_computes_the_same_and_keeps_its_names(monkeypatch):
    compiled = []

    def eager(function, **kwargs):
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", eager)
    model, plain = with_switches("MODEL.COMPILE", True), with_switches()
    assert len(compiled) == 5  # the trunk, and two stages in each branch
    assert model.state_dict().keys() == plain.state_dict().keys()
    for expected, actual in zip(step(plain), step(model), strict=True):
        for name, value in expected.items():
            torch.testing.assert_close(actual[name], value)


def test_without_a_compiler_training_goes_on_and_the_log_says_so_once(monkeypatch):
    def no_compiler(function, **kwargs):
        def fail(*args, **kwargs):
            raise RuntimeError("no C++ compiler found\nand a long story")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    model = with_switches("MODEL.COMPILE", True)
    copied = copy.deepcopy(model)
    with logged_by_fastreid() as messages:
        losses, _, buffers = step(model)
    expected, _, plain_buffers = step(with_switches())
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(buffers, plain_buffers)
    assert [message for message in messages if "MODEL.COMPILE" in message] == [
        "MODEL.COMPILE: torch.compile does not work here, so training goes on without it "
        "(RuntimeError: no C++ compiler found)"
    ]
    assert copied.state_dict().keys() == model.state_dict().keys()
