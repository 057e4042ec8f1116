"""torch.compile for training, which goes on without where there is no compiler."""

import logging
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any

import torch
from torch import nn

_LACKING = {
    "InvalidCxxCompiler": "install a C++ compiler (Debian: apt-get install g++), or name one in the variable CXX",
    "CppCompileError": "the C++ compiler failed: install another, or name one in the variable CXX",
    "TritonMissing": "install Triton (pip install triton)",
}
"""What fixes an error of the compiler's, by its type."""


def compile_in_training(modules: Iterable[nn.Module]) -> None:
    """Compile each module, in place, when it is first called in training mode; names of weights stay as they are.

    Where they cannot be compiled they run as they are, and a line of the log says so, once, and what is lacking. What
    else goes wrong, such as running out of memory, is raised.

    Args:
        modules: of a network; none contains another.
    """
    warned: set[str] = set()
    for module in modules:
        try:
            compiled = torch.compile(MethodType(_call, module))
        except RuntimeError as error:  # this Python or this system is not supported
            _warn_once(error, warned)
            return
        # What Module.compile sets: it is left out of copies and of pickles
        module._compiled_call_impl = _with_fallback(module, compiled, warned)


def _call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Compiled instead of ``module._call_impl``: PyTorch 2.7 passes over torch.nn's own code, so over nn.Sequential."""
    return module._call_impl(*args, **kwargs)


def _with_fallback(module: nn.Module, compiled: Callable, warned: set[str]) -> Callable:
    from torch._dynamo.exc import TorchDynamoException  # takes seconds, which only a compiled run has to wait

    def call(*args: Any, **kwargs: Any) -> Any:
        if module.training and not warned:
            try:
                return compiled(*args, **kwargs)
            except TorchDynamoException as error:
                if isinstance(_inner(error), torch.OutOfMemoryError | MemoryError):
                    raise
                _warn_once(error, warned)
        # A mistake in the module itself, which a compiler meets too, is raised from here
        return module._call_impl(*args, **kwargs)

    return call


def _inner(error: BaseException) -> BaseException:
    """What a compiler's error wraps."""
    return getattr(error, "inner_exception", error)


def _warn_once(error: BaseException, warned: set[str]) -> None:
    if warned:
        return
    warned.add("")
    inner = _inner(error)
    kind, reason = type(inner).__name__, str(inner).strip().partition("\n")[0]
    advice = f"; {_LACKING[kind]}" if kind in _LACKING else ""
    logging.getLogger("fastreid").warning(
        f"MODEL.COMPILE: torch.compile does not work here, so training goes on without it ({kind}: {reason}){advice}"
    )
