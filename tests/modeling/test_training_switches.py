"""Switches that change how a training step is computed, and not what."""

import copy
import functools
import re
from typing import NamedTuple

import pytest
import torch
from small_runs import logged_by_fastreid
from support.settings import small_model
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed, Unsupported
from torch._inductor.exc import InvalidCxxCompiler

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.backbones import branched
from mdpr_fastreid.modeling.backbones.recomputing import recomputed
from mdpr_fastreid.modeling.compilation import compile_in_training

SIZE = (64, 32)


def with_switches(*overrides):
    torch.manual_seed(1)
    size = ["INPUT.SIZE_TRAIN", list(SIZE), "INPUT.SIZE_TEST", list(SIZE)]
    return small_model(*size, *overrides).train()


class Step(NamedTuple):
    """What a training step's forward and backward pass gives."""

    values: dict[str, torch.Tensor]
    """Losses, gradients and buffers."""
    kept: int
    """Bytes kept for the backward pass."""
    computed_again: list[str]


@functools.cache
def step(stages, channels_last):
    model = with_switches("MODEL.MDPR.CHECKPOINT_STAGES", stages, "MODEL.CHANNELS_LAST", channels_last)
    images = torch.rand(8, 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 255
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    saved, calls = {}, []
    names = {module: name for name, module in model.named_modules()}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with pytest.MonkeyPatch.context() as patch, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        patch.setattr(branched, "recomputed", lambda stage, x: calls.append(names[stage]) or recomputed(stage, x))
        losses = model(batch := {"images": images, "targets": torch.arange(8) // 2})
    kept = sum(saved.values())
    sum(losses.values()).backward()
    assert batch["images"].is_contiguous()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.grad is not None}
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in trained.items()}
    losses = {name: loss.detach() for name, loss in losses.items()}
    return Step(losses | gradients | dict(model.named_buffers()), kept, calls)


SWITCHES = [((3,), False), ((4,), False), ((3, 4), False), ((), True), ((3, 4), True)]


@pytest.mark.parametrize(("stages", "channels_last"), SWITCHES, ids=str)
def test_losses_gradients_and_statistics_are_those_of_the_plain_path(stages, channels_last):
    plain, switched = step((), False), step(stages, channels_last)
    assert sorted(switched.computed_again) == sorted(
        f"backbone.{branch}.stage{number}" for branch in ("hard", "soft") for number in stages
    )
    assert switched.values.keys() == plain.values.keys()
    for name, expected in plain.values.items():
        if not channels_last:
            assert torch.equal(switched.values[name], expected), name
            continue
        # Another layout rounds otherwise, and batch norms over so few pixels multiply that
        tolerance = (5e-2 if name.startswith("gradient") else 1e-4) * expected.double().norm() + 1e-5
        assert (switched.values[name].double() - expected.double()).norm() <= tolerance, name


def test_checkpointed_stages_keep_less_for_the_backward_pass():
    plain, third, fourth, both = (step(stages, False).kept for stages in ((), (3,), (4,), (3, 4)))
    assert both < 0.95 * min(third, fourth)
    assert max(third, fourth) < 0.95 * plain


def test_random_layers_draw_the_same_when_computed_again():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 6))
    copied, features = copy.deepcopy(module), torch.randn(16, 6)
    after = []
    for one, run in ((module, module), (copied, lambda x: recomputed(copied, x))):
        torch.manual_seed(5)
        run(features).square().sum().backward()
        after.append([*(p.grad for p in one.parameters()), *one.buffers(), torch.rand(3)])
    torch.testing.assert_close(*after)


def test_a_stage_that_does_not_exist_cannot_be_checkpointed():
    with pytest.raises(SettingsError, match="CHECKPOINT_STAGES"):
        small_model("MODEL.MDPR.CHECKPOINT_STAGES", (2,))


def test_the_trunk_and_the_branches_stages_are_compiled_and_keep_their_names(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function.__self__) or function)
    model = with_switches("MODEL.COMPILE", True)
    branches = (model.backbone.hard, model.backbone.soft)
    stages = [stage for branch in branches for stage in (branch.stage3, branch.stage4)]
    assert compiled == [model.backbone.trunk, *stages]
    assert model.state_dict().keys() == with_switches().state_dict().keys()


def test_a_real_compiler_gives_the_same_in_training_and_is_left_out_of_evaluation_and_copies():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU())
    plain, images, runs = copy.deepcopy(module), torch.randn(8, 4), []
    # What Dynamo traces it runs with this backend, which needs no C++ compiler
    compiling = torch.compile
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda function: compiling(function, backend=lambda graph, _: counting(graph)))

        def counting(graph):
            return lambda *args: runs.append(1) or graph(*args)

        compile_in_training([module])
    torch.testing.assert_close(module(images), plain(images))
    torch.testing.assert_close(dict(module.named_buffers()), dict(plain.named_buffers()))
    assert runs
    runs.clear()
    torch.testing.assert_close(module.eval()(images), plain.eval()(images))
    copy.deepcopy(module).train()(images)
    assert runs == []


def failing_with(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch, "compile", lambda function: fail)
    modules = [nn.Linear(2, 2), nn.Linear(2, 2)]
    compile_in_training(modules)
    return modules


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Unsupported("no such call\nand a long story"), r"\(Unsupported: no such call\)$"),
        (BackendCompilerFailed(print, InvalidCxxCompiler(), None), r"\(InvalidCxxCompiler: .*install a C\+\+ compiler"),
    ],
    ids=["dynamo", "compiler"],
)
def test_without_a_compiler_training_goes_on_and_the_log_says_once_what_is_lacking(monkeypatch, error, message):
    modules, features = failing_with(monkeypatch, error), torch.randn(3, 2)
    with logged_by_fastreid() as messages:
        for module in modules:
            for _ in range(2):
                assert torch.equal(module(features), module.forward(features))
    assert len(messages) == 1
    assert "MODEL.COMPILE: torch.compile does not work here, so training goes on without it" in messages[0]
    assert re.search(message, messages[0])


def test_a_system_that_torch_compile_refuses_trains_without_it(monkeypatch):
    def refuse(function):
        raise RuntimeError("torch.compile is not supported on this Python")

    monkeypatch.setattr(torch, "compile", refuse)
    module = nn.Linear(2, 2)
    with logged_by_fastreid() as messages:
        compile_in_training([module])
    assert "not supported on this Python" in messages[0]
    assert module(torch.randn(3, 2)).shape == (3, 2)


@pytest.mark.parametrize("wrapped", [False, True])
def test_running_out_of_memory_is_no_failure_of_the_compiler(monkeypatch, wrapped):
    error = torch.OutOfMemoryError("out of memory")
    modules = failing_with(monkeypatch, BackendCompilerFailed(print, error, None) if wrapped else error)
    with logged_by_fastreid() as messages, pytest.raises(RuntimeError, match="out of memory"):
        modules[0](torch.randn(3, 2))
    assert messages == []
