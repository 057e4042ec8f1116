"""Optimizers that train FastReID's flat parameters, are found by name, and remember how long layers were frozen."""

import re
from collections.abc import Sequence

import torch
from fastreid.config import CfgNode
from fastreid.solver import optim
from fastreid.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from fastreid.utils.params import ContiguousParams
from torch import nn
from torch.optim import Optimizer

from mdpr_fastreid.config.names import nearest
from mdpr_fastreid.engine.parameter_groups import scale_backbone, scale_by_model, without_decay_of_vectors
from mdpr_fastreid.errors import SettingsError

_FROZEN_STEPS = "frozen_steps"


def build_optimizer(
    cfg: CfgNode, model: nn.Module, contiguous: bool = True
) -> tuple[Optimizer, ContiguousParams | list[dict]]:
    """The optimizer that ``SOLVER`` describes, over FastReID's groups of parameters.

    Args:
        cfg: the run's config.
        model: what is trained; ``contiguous`` moves its parameters into flat buffers. It may have ``lr_factors``: by
            what the names of parameters begin with, the factor of their learning rates.
        contiguous: whether parameters with the same options share one flat tensor, and their gradients another.

    Returns:
        The optimizer, and the flat buffers or, without ``contiguous``, the groups.

    Raises:
        SettingsError: ``SOLVER.OPT`` is no optimizer, ``lr_factors`` or ``MODEL.FREEZE_LAYERS`` fit no parameter, or
            the order of the backbone's layers is not known and ``SOLVER.LAYER_DECAY`` needs it.
    """
    solver = cfg.SOLVER
    freeze = bool(cfg.MODEL.FREEZE_LAYERS) and solver.FREEZE_ITERS > 0
    kind = maybe_add_gradient_clipping(cfg, _optimizer_class(solver.OPT))
    if freeze:
        _check_frozen(cfg.MODEL.FREEZE_LAYERS, model)
        kind = with_frozen_layers(kind, solver.FREEZE_ITERS)
    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        heads_lr_factor=solver.HEADS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        freeze_layers=cfg.MODEL.FREEZE_LAYERS if solver.FREEZE_ITERS > 0 else [],
    )
    scale_by_model(groups, model)
    scale_backbone(groups, model, solver.BACKBONE_LR_FACTOR, solver.LAYER_DECAY)
    if solver.DECAY_MATRICES_ONLY:
        without_decay_of_vectors(groups, model)
    options = {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV} if solver.OPT == "SGD" else {}
    if not contiguous:
        return kind(groups, **options), groups
    parameters = ContiguousParams(groups)
    return keeping_gradients(kind)(parameters.contiguous(), **options), parameters


def _check_frozen(patterns: Sequence[str], model: nn.Module) -> None:
    names = [
        f"{path}.{name}" for path, module in model.named_modules() for name, _ in module.named_parameters(recurse=False)
    ]
    for pattern in patterns:
        if not any(re.match(pattern, name) for name in names):
            raise SettingsError(
                f"MODEL.FREEZE_LAYERS {pattern!r}: no parameter of {type(model).__name__} has a name that begins so; "
                f"{nearest(pattern, [name for name, _ in model.named_children()])}"
            )


def _optimizer_class(name: str) -> type[Optimizer]:
    """The class of that name of ``torch.optim`` or of FastReID (Lamb)."""
    found = getattr(optim, name, None)
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise SettingsError(f"SOLVER.OPT {name!r} is no optimizer of torch.optim or of FastReID (SGD, Adam, Lamb, ...)")
    return found


def keeping_gradients(optimizer: type[Optimizer]) -> type[Optimizer]:
    """The optimizer's class, whose ``zero_grad`` fills gradients with zeros.

    Since PyTorch 2.0 it would set them to None. A flat buffer, of whose gradient the parameters' gradients are views,
    would lose it at the first step and never change a weight again, without an error.

    Args:
        optimizer: the class to extend.
    """

    def zero_grad(self: Optimizer, set_to_none: bool = False) -> None:
        optimizer.zero_grad(self, set_to_none=False)

    return type(optimizer.__name__, (optimizer,), {"zero_grad": zero_grad})


def with_frozen_layers(optimizer: type[Optimizer], freeze_iters: int) -> type[Optimizer]:
    """The optimizer's class, leaving groups with ``freeze_status`` "freeze" as they are for some steps.

    The count of steps is kept in the parameter groups, so it is saved and restored with the optimizer.

    Args:
        optimizer: the class to extend.
        freeze_iters: steps during which the marked groups get no update; at least 1.
    """

    @torch.no_grad()
    def step(self: Optimizer, closure=None) -> None:
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
