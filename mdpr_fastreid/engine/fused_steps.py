"""Optimizer steps in one pass over the parameters, without the host waiting to hear of overflowed gradients."""

from typing import Any

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

_FUSED: tuple[type[Optimizer], ...] = (SGD, Adam, AdamW)


def set_fused(optimizer: Optimizer, fused: bool, *, clipping: bool = False) -> None:
    """Let SGD, Adam and AdamW use PyTorch's fused kernels, or not, in place; a loaded state does not change it back.

    Args:
        optimizer: of the toolbox's, with its own groups; another kind stays as it is.
        fused: whether to.
        clipping: whether its step clips gradients. It has to see them unscaled then, which costs float16 training a
            pass over them and the host a wait; elsewhere the kernel itself divides by the scale and skips overflows.
    """
    if not isinstance(optimizer, _FUSED):
        return

    def ours(group: dict[str, Any]) -> dict[str, Any]:
        return group | ({"fused": True, "foreach": False} if fused else {"fused": None, "foreach": None})

    def with_our_groups(_: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        # Before the state is loaded: where Adam's count of steps has to be depends on it
        return state | {"param_groups": [ours(group) for group in state["param_groups"]]}

    for group in optimizer.param_groups:
        group.update(ours(group))
    optimizer.register_load_state_dict_pre_hook(with_our_groups)
    if fused:
        optimizer._step_supports_amp_scaling = not clipping  # what torch.amp.GradScaler asks
        if isinstance(optimizer, SGD):
            optimizer.register_step_pre_hook(_start_momentum)


def _start_momentum(optimizer: SGD, *_: Any) -> None:
    """Momentum 0 is none yet; PyTorch's own would stay uninitialized if the first step is skipped for an overflow."""
    for group in optimizer.param_groups:
        if group["momentum"] == 0:
            continue
        for parameter in group["params"]:
            if parameter.grad is not None and optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
