"""Buffers of a network that is run again on what it has seen."""

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def keeping_buffers(module: nn.Module) -> Iterator[None]:
    """Let a module update copies of its buffers: running statistics have seen this batch already."""
    own = [(one, dict(one._buffers)) for one in module.modules() if one._buffers]
    try:
        for one, buffers in own:
            one._buffers.update({name: None if b is None else b.clone() for name, b in buffers.items()})
        yield
    finally:
        for one, buffers in own:
            one._buffers.update(buffers)
