"""FastReID's event storage, which a trainer has, and a training loop of the user's own may not."""

import torch
from fastreid.modeling import losses
from fastreid.utils.events import EventStorage, get_event_storage


def current_storage() -> EventStorage | None:
    """The storage in use, or None."""
    try:
        return get_event_storage()
    except AssertionError:
        return None


def log_accuracy(logits: torch.Tensor, targets: torch.Tensor) -> None:
    """Put the classification accuracy of a batch beside the losses, where there is a storage.

    Args:
        logits: ``[B, classes]``.
        targets: ``[B]`` identity labels.
    """
    if current_storage() is not None:
        losses.log_accuracy(logits.detach(), targets)
