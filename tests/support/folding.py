"""Models whose batch norms are not the identity: folding those of a fresh network would prove nothing."""

import torch
from torch import nn


def with_random_batch_norms(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in evaluation mode, every statistic and affine parameter of its batch norms drawn at random."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, like: torch.Tensor) -> torch.Tensor:
        return torch.rand(len(like), generator=generator) * (high - low) + low

    for module in model.modules():
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.copy_(uniform(-0.3, 0.3, module.running_mean))
            module.running_var.copy_(uniform(0.5, 1.5, module.running_var))
            module.weight.data.copy_(uniform(0.7, 1.3, module.weight))
            module.bias.data.copy_(uniform(-0.3, 0.3, module.bias))
    return model.eval()


def relative_difference(features: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference over the norm of what is expected."""
    return float((features - expected).norm() / expected.norm())
