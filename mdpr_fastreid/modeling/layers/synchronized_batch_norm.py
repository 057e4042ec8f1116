"""Batch norm over the batches of all processes, on a CPU, too."""

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from mdpr_fastreid.modeling.all_processes import gathered, has_all_rows


class SyncBatchNorm(nn.BatchNorm2d):
    """FastReID's ``syncBN``: in training, statistics are those of the batches of all processes together.

    PyTorch's own wants a GPU, and ``DistributedDataParallel`` refuses it on a CPU. On a GPU this one computes as that
    does. In one process, in evaluation, and where the input has the rows of all processes already, it is a batch norm.

    Args:
        num_features: channels ``C``.
        eps: added to the variance.
        momentum: share of a new batch in the running statistics.
        weight_freeze: whether the scale stays as it is.
        bias_freeze: whether the shift stays as it is.
        weight_init: the scale to start with.
        bias_init: the shift to start with.

    Shapes:
        ``[B, C]`` or ``[B, C, h, w]`` -> the same.
    """

    process_group = None
    """Of PyTorch's: all processes."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        weight_freeze: bool = False,
        bias_freeze: bool = False,
        weight_init: float = 1.0,
        bias_init: float = 0.0,
    ):
        super().__init__(num_features, eps=eps, momentum=momentum)
        nn.init.constant_(self.weight, weight_init)
        nn.init.constant_(self.bias, bias_init)
        self.weight.requires_grad_(not weight_freeze)
        self.bias.requires_grad_(not bias_freeze)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if not self.training or has_all_rows():
            return super().forward(features)
        if features.device.type != "cpu":
            return nn.SyncBatchNorm.forward(self, features)
        self._check_input_dim(features)
        normalized, *statistics = _Normalized.apply(features, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._track(_Statistics(*statistics))
        return normalized

    @torch.no_grad()
    def _track(self, batch: "_Statistics") -> None:
        self.num_batches_tracked.add_(1)
        unbiased = batch.variance * (batch.count / (batch.count - 1))
        self.running_mean.lerp_(batch.mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)

    def _check_input_dim(self, features: torch.Tensor) -> None:
        if features.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {features.dim()}D input)")

    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels


class _Statistics(NamedTuple):
    mean: torch.Tensor
    """``[C]``."""
    variance: torch.Tensor
    """``[C]``, biased."""
    count: torch.Tensor
    """``[C]``, values of a channel."""


class _Normalized(torch.autograd.Function):
    """The normalised features, and the statistics over all processes, which get no gradient."""

    @staticmethod
    def forward(ctx, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> tuple:
        batch = _statistics_of_all(_exact(features))
        normalized = F.batch_norm(features, batch.mean, batch.variance, weight, bias, training=False, eps=eps)
        ctx.save_for_backward(features, weight, batch.mean, (batch.variance + eps).rsqrt(), batch.count)
        ctx.mark_non_differentiable(*batch)
        return normalized, *batch

    @staticmethod
    def backward(ctx, gradient: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        features, weight, mean, scale, count = ctx.saved_tensors
        others = _others(features)
        shape = [-1 if dim == 1 else 1 for dim in range(features.dim())]
        exact, whitened = _exact(gradient), (_exact(features) - mean.view(shape)) * scale.view(shape)
        of_bias, of_weight = exact.sum(others), (exact * whitened).sum(others)
        sums = torch.stack([of_bias, of_weight])
        dist.all_reduce(sums)
        shift, slope = (total.view(shape) for total in sums / count)
        of_features = (exact - shift - whitened * slope) * (weight * scale).view(shape)
        # Those of weight and bias are of this process's share: DistributedDataParallel averages them
        return of_features.to(features.dtype), of_weight.to(weight.dtype), of_bias.to(weight.dtype), None


def _statistics_of_all(features: torch.Tensor) -> _Statistics:
    variance, mean = torch.var_mean(features, _others(features), correction=0)
    count = torch.full_like(mean, features.numel() // features.shape[1])
    means, variances, counts = gathered(torch.stack([mean, variance, count])).unbind(dim=1)
    total = counts.sum(dim=0)
    mean = (means * counts).sum(dim=0) / total
    return _Statistics(mean, ((variances + (means - mean).square()) * counts).sum(dim=0) / total, total)


def _others(features: torch.Tensor) -> list[int]:
    """All dimensions but that of the channels."""
    return [dim for dim in range(features.dim()) if dim != 1]


def _exact(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
