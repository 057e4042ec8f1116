"""torch.compile for training, which goes on without where there is no compiler."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def compile_in_training(modules: Iterable[nn.Module]) -> None:
    """Compile each module, in place, when it is first called in training mode; names of weights stay as they are.

    A module that cannot be compiled runs as it is, and a line of the log says so once for all of them.

    Args:
        modules: of a network; none contains another.
    """
    told: set[str] = set()
    for module in modules:
        # What Module.compile sets: it is left out of copies and of pickles
        module._compiled_call_impl = _with_fallback(module, torch.compile(module._call_impl), told)


def _with_fallback(module: nn.Module, compiled: Callable, told: set[str]) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
        if not module.training or told:
            return module._call_impl(*args, **kwargs)
        try:
            return compiled(*args, **kwargs)
        except Exception as error:
            # Compilers end in errors of many types. A mistake in the module itself is raised again by the plain call
            result = module._call_impl(*args, **kwargs)
            told.add("")
            reason = str(error).strip().partition("\n")[0]
            logging.getLogger("fastreid").warning(
                f"MODEL.COMPILE: torch.compile does not work here, so training goes on without it "
                f"({type(error).__name__}: {reason})"
            )
            return result

    return call
