"""Training steps with SGD, whose change of the weights is the gradient."""

from collections.abc import Sequence
from typing import Any

import torch
from fastreid.utils.events import EventStorage
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mdpr_fastreid.engine.steps import TrainingStep


def images_of(count: int, height: int = 64, width: int = 32, identities: int = 4) -> dict[str, torch.Tensor]:
    """A batch in float64, whose identities are spread over it."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64) * 255
    return {"images": images, "targets": torch.arange(count) % identities}


def without_statistics(model: nn.Module) -> nn.Module:
    """The model itself, whose batch norms, but those within its losses, use their running statistics in training."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and "predictors" not in name:
            module.eval().train = lambda mode=True: None
    return model


def stepped(model: nn.Module, batches: Sequence[Any], **options: Any) -> dict[str, float]:
    """Train a step on each batch, in place; the last one's losses by name."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    step = TrainingStep(model, batches, optimizer, [], **{"precision": "float32", **options})
    with EventStorage(0) as storage:
        for _ in batches:
            step.run_step()
            storage.step()
    return {name: storage.history(name).latest() for name in storage.histories() if "loss" in name}


def assert_same_state(model: nn.Module, expected: nn.Module, tolerance: float = 1e-9) -> None:
    """Weights and buffers, relative to the largest of each."""
    state = expected.state_dict()
    assert model.state_dict().keys() == state.keys()
    for name, value in model.state_dict().items():
        scale = state[name].double().abs().max().clamp_min(1)
        assert (value.double() - state[name].double()).abs().max() <= tolerance * scale, name
