"""Scalars of a run that stay on their device until somebody reads them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from fastreid.utils import events
from fastreid.utils.events import EventStorage

TOTAL_LOSS = "total_loss"

# Of a training loop that has no writer, so that memory does not grow with the run
_MOST_WAITING = 10_000


class DeferredStorage(EventStorage):
    """FastReID's storage of scalars, in which a tensor does not make the host wait for the device.

    Tensors come over in one copy when a history or a latest value is asked for, each with the iteration it belongs to:
    histories, medians and ``metrics.json`` are the same as if every number had been read at once.

    Args:
        start_iter: the iteration to start with.
    """

    def __init__(self, start_iter: int = 0) -> None:
        super().__init__(start_iter)
        self._waiting: list[tuple[str, torch.Tensor, int]] = []
        self._not_finite: str | None = None

    def put_scalar(self, name: str, value: Any, smoothing_hint: bool = True) -> None:
        """Store a number, or a tensor of one number, for the present iteration."""
        if not isinstance(value, torch.Tensor):
            return super().put_scalar(name, value, smoothing_hint)
        name = self._current_prefix + name
        if self._smoothing_hints.setdefault(name, smoothing_hint) != smoothing_hint:
            raise AssertionError(f"Scalar {name} was put with a different smoothing_hint!")
        # A copy, as the tensor may be a view of what the step overwrites; float64 holds what a Python float does
        kept = value.detach().reshape(()).to(torch.float64, copy=True)
        self._waiting.append((name, kept, self._iter))
        if len(self._waiting) >= _MOST_WAITING:
            self._read()
        return None

    def history(self, name: str) -> Any:
        """The values of a scalar, with their iterations."""
        self._read()
        return super().history(name)

    def histories(self) -> Mapping[str, Any]:
        """The histories of all scalars by name."""
        self._read()
        return super().histories()

    def latest(self) -> Mapping[str, tuple[float, int]]:
        """The last value of every scalar, with its iteration."""
        self._read()
        return super().latest()

    def latest_with_smoothing_hint(self, window_size: int = 20) -> Mapping[str, tuple[float, int]]:
        """The last value, or the median of the last ``window_size``, of every scalar, with its iteration."""
        self._read()
        return super().latest_with_smoothing_hint(window_size)

    def check_finite(self) -> None:
        """Find out whether every total loss so far was finite.

        Raises:
            FloatingPointError: one was not; at every later call, too.
        """
        self._read()
        if self._not_finite is not None:
            raise FloatingPointError(self._not_finite)

    def _read(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        values = torch.stack([tensor for _, tensor, _ in waiting]).tolist()
        losses: dict[int, dict[str, float]] = {}
        for (name, _, iteration), value in zip(waiting, values, strict=True):
            self._history[name].update(value, iteration)
            self._latest_scalars[name] = (value, iteration)
            if "loss" in name:
                losses.setdefault(iteration, {})[name] = value
        try:
            for iteration, of_iteration in losses.items():
                check_finite(of_iteration, iteration)
        except FloatingPointError as error:
            self._not_finite = str(error)
            raise


def check_finite(losses: Mapping[str, float], iteration: int) -> None:
    """Refuse losses of one iteration whose ``total_loss`` is infinite or NaN.

    Raises:
        FloatingPointError: it is; the message names the iteration and the losses.
    """
    if not math.isfinite(losses.get(TOTAL_LOSS, 0.0)):
        raise FloatingPointError(f"Loss became infinite or NaN at iteration={iteration}!\nloss_dict = {dict(losses)}")


def check_current_storage() -> None:
    """:meth:`DeferredStorage.check_finite` of the storage that is in use now, if one is."""
    storage = events._CURRENT_STORAGE_STACK[-1] if events._CURRENT_STORAGE_STACK else None
    if isinstance(storage, DeferredStorage):
        storage.check_finite()
