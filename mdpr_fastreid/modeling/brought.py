"""What a model may bring along for its own evaluation, as attributes that are all optional.

``distance(query, gallery)``
    Distances ``[Q, G]`` of the outputs of queries and gallery images, in the place of ``TEST.METRIC``.
``pairings``
    Names of the outputs that queries and gallery are compared by, by the pairing's name.
``metrics(outputs)``
    Further numbers by name, of the outputs of all test images, reported beside mAP.
``compared(query, gallery)``
    What was compared in each of ``P`` pairs, a line each: captions of rank lists.
"""

from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

BROUGHT = ("distance", "pairings", "metrics", "compared")
"""The attributes; a wrapper of a model hands on all of them."""


def brought_by(model: nn.Module) -> dict[str, Any]:
    """What a model brings along, by name; what it does not bring, or has as None, is left out.

    Args:
        model: of one that ``DistributedDataParallel`` wraps, it is the model inside that counts.
    """
    model = model.module if isinstance(model, DistributedDataParallel) else model
    brought = {name: getattr(model, name, None) for name in BROUGHT}
    return {name: value for name, value in brought.items() if value is not None}


def hand_on(model: nn.Module, wrapper: nn.Module) -> None:
    """Give a wrapper, as attributes, what the model inside brings along."""
    for name, value in brought_by(model).items():
        setattr(wrapper, name, value)
