"""Optimizers that do not train, are not found, or forget.

* ``zero_grad()`` sets gradients to None since PyTorch 2.0. FastReID's optimizer holds one flat buffer whose
  gradient the parameters' gradients are views of, so it loses the buffer's gradient at the first step and
  never changes a weight again, without an error.
* ``SOLVER.OPT`` is looked up in ``torch.optim`` only, so FastReID's own ``Lamb`` is not found, always.
* ``SOLVER.FREEZE_ITERS`` is counted in a closure, so a resumed run freezes the layers once more, always.

Can go when FastReID passes ``set_to_none=False``, looks in ``solver.optim`` and saves the count.
"""

from types import SimpleNamespace

import torch
from fastreid.config import CfgNode
from fastreid.solver import build as solver_build
from fastreid.solver import optim
from fastreid.utils.params import ContiguousParams

from mdpr_fastreid.compat.replacing import replace
from mdpr_fastreid.errors import UsageError

_FROZEN_STEPS = "frozen_steps"


def apply() -> None:
    """Mend ``build_optimizer``."""
    stock_build_optimizer = solver_build.build_optimizer
    stock_torch = solver_build.torch

    def build_optimizer(cfg: CfgNode, model: torch.nn.Module, contiguous: bool = True) -> tuple:
        _check_optimizer_name(cfg.SOLVER.OPT)
        # getattr(torch.optim, name) is the one thing the stock function asks of the name `torch`
        solver_build.torch = SimpleNamespace(optim=optim, nn=torch.nn, no_grad=torch.no_grad)
        try:
            optimizer, params = stock_build_optimizer(cfg, model, contiguous)
        finally:
            solver_build.torch = stock_torch
        if isinstance(params, ContiguousParams):
            _keep_gradient_buffers(optimizer)
        return optimizer, params

    replace(solver_build, "build_optimizer", build_optimizer)
    replace(solver_build, "_generate_optimizer_class_with_freeze_layer", _with_frozen_layers)


def _check_optimizer_name(name: str) -> None:
    found = getattr(optim, name, None)
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        raise UsageError(f"SOLVER.OPT {name!r} is no optimizer of torch.optim or of FastReID (SGD, Adam, Lamb, ...)")


def _keep_gradient_buffers(optimizer: torch.optim.Optimizer) -> None:
    def zero_grad(set_to_none: bool = False) -> None:
        type(optimizer).zero_grad(optimizer, set_to_none=False)

    optimizer.zero_grad = zero_grad


def _with_frozen_layers(
    optimizer: type[torch.optim.Optimizer], *, freeze_iters: int = 0
) -> type[torch.optim.Optimizer]:
    """The optimizer's class, leaving groups with ``freeze_status`` "freeze" as they are for some steps.

    The count of steps is kept in the parameter groups, so it is saved and restored with the optimizer.

    Args:
        optimizer: the class to extend.
        freeze_iters: steps during which the marked groups get no update; at least 1.
    """
    if freeze_iters < 1:
        raise ValueError(f"freeze_iters has to be at least 1, got {freeze_iters}")

    @torch.no_grad()
    def step(self: torch.optim.Optimizer, closure=None) -> None:
        steps_before = self.param_groups[0].get(_FROZEN_STEPS, 0)
        for group in self.param_groups:
            group[_FROZEN_STEPS] = min(steps_before + 1, freeze_iters)
        hidden = []
        if steps_before < freeze_iters:
            frozen = [group for group in self.param_groups if group["freeze_status"] == "freeze"]
            hidden = [(p, p.grad) for group in frozen for p in group["params"] if p.grad is not None]
        for parameter, _ in hidden:
            parameter.grad = None
        optimizer.step(self, closure)
        for parameter, gradient in hidden:
            parameter.grad = gradient

    return type(f"{optimizer.__name__}WithFreezeLayer", (optimizer,), {"step": step})
