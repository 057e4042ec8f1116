"""Whether a checkpoint is one that this training can go on from: FastReID would take of it whatever fits."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from mdpr_fastreid.errors import UsageError

OPTIMIZER_KIND = "optimizer_kind"
"""The name under which a checkpoint has that of its optimizer's class."""

_HOMES = ("torch.optim.", "fastreid.solver.optim.")


def check_resumable(
    path: str, checkpoint: Mapping[str, Any], model: nn.Module, checkpointables: Mapping[str, Any]
) -> None:
    """Refuse a checkpoint of another model or optimizer, or one that lacks what a resumed run needs.

    A flat optimizer's state fits no other model, and where it is too short, its step writes beyond its memory.

    Args:
        path: the file, for the message.
        checkpoint: what it holds.
        model: what is trained, not wrapped.
        checkpointables: what goes on beside it, by the name in the checkpoint.

    Raises:
        UsageError: it says what differs.
    """
    optimizer = checkpointables.get("optimizer")
    reason = (
        _incomplete(checkpoint, optimizer is not None)
        or _other_model(checkpoint["model"], model.state_dict())
        or (_other_optimizer(checkpoint, optimizer) if optimizer is not None else "")
    )
    if reason:
        raise UsageError(
            f"{path}: this training cannot go on from it: {reason}. Resume with the config that the run was started "
            "with (config.yaml beside it), or train anew: without --resume, or in another OUTPUT_DIR"
        )


def kind_of(optimizer: Optimizer) -> str:
    """The name of an optimizer's class: of torch's or FastReID's, whatever was added to it."""
    homes = (kind.__name__ for kind in type(optimizer).__mro__ if f"{kind.__module__}.".startswith(_HOMES))
    return next(homes, type(optimizer).__name__)


def _incomplete(checkpoint: Mapping[str, Any], has_optimizer: bool) -> str:
    if has_optimizer and not isinstance(checkpoint.get("optimizer"), dict):
        return "it has no state of an optimizer, so it holds weights alone, for MODEL.WEIGHTS"
    epoch = checkpoint.get("epoch", 0)
    if not isinstance(epoch, int) or epoch < 0:
        return f"its epoch is {epoch!r}"
    return ""


def _other_model(saved: Mapping[str, Any], own: Mapping[str, torch.Tensor]) -> str:
    differing = [
        f"{name} is {list(saved[name].shape)} in it and {list(value.shape)} here"
        for name, value in own.items()
        if name in saved and saved[name].shape != value.shape
    ]
    differing += [f"it has no {name}" for name in own if name not in saved and not _is_counter(name)]
    differing += [f"it has {name}, which is not here" for name in saved if name not in own]
    if not differing:
        return ""
    more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
    return f"its model is another one, {differing[0]}{more}"


def _other_optimizer(checkpoint: Mapping[str, Any], optimizer: Optimizer) -> str:
    kind, own = checkpoint.get(OPTIMIZER_KIND), kind_of(optimizer)
    if kind is not None and kind != own:
        return f"its optimizer is {kind}, and SOLVER.OPT {own}"
    saved = checkpoint["optimizer"]
    groups = [group for group in saved.get("param_groups", ()) if isinstance(group, dict)]
    state = saved.get("state")
    if not isinstance(state, dict):
        return "the state of its optimizer is damaged"
    given, needed = ([len(group.get("params", ())) for group in of] for of in (groups, optimizer.param_groups))
    if given != needed:
        return f"its optimizer has {sum(given)} parameters in {len(given)} groups, here {sum(needed)} in {len(needed)}"
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in state.items():
        shape = parameters[index].shape if isinstance(index, int) and index < len(parameters) else None
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, torch.Tensor) and value.dim() and value.shape != shape:
                return f"its optimizer's {name} has {value.numel():,} numbers, and the parameters here {_count(shape)}"
    return ""


def _count(shape: torch.Size | None) -> str:
    return "none" if shape is None else f"{shape.numel():,}"


def _is_counter(name: str) -> bool:
    """Batch norm's counters: nothing depends on them, and old checkpoints have none."""
    return name.endswith("num_batches_tracked")
