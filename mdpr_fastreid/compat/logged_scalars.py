"""Every training step waits for the device, to read each loss and the accuracy for a log written every 200, always.

``SimpleTrainer._write_metrics`` and ``EventStorage.put_scalar`` read a number at every step, one by one. Here tensors
are kept where they are until something reads the storage (a writer, a progress line, a checkpoint), then come over in
one copy, each with the iteration it belongs to: histories, medians and ``metrics.json`` are as before. A loss that is
not finite is found at that moment; it still stops the run, and before any checkpoint is written.

Can go when FastReID logs tensors without reading them.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.utils import comm, events
from fastreid.utils.checkpoint import Checkpointer
from fastreid.utils.events import EventStorage, get_event_storage

_READERS = ("history", "histories", "latest", "latest_with_smoothing_hint")
_TOTAL = "total_loss"
# Of a training loop that has no writer, so that memory does not grow with the run
_MOST_WAITING = 10_000


def apply() -> None:
    """Mend the storage of scalars, the trainers' metrics and the saving of checkpoints."""
    EventStorage.put_scalar = _keeping_tensors(EventStorage.put_scalar)
    for name in _READERS:
        setattr(EventStorage, name, _after_reading(getattr(EventStorage, name)))
    SimpleTrainer._write_metrics = _write_metrics
    Checkpointer.save = _after_checking(Checkpointer.save)


def read_scalars(storage: EventStorage) -> None:
    """Bring the tensors that were put into a storage over to the host, in one copy, and into its histories.

    Raises:
        FloatingPointError: a total loss was not finite; the message names the iteration and the losses.
    """
    waiting = storage.__dict__.pop("_waiting", [])
    if not waiting:
        return
    values = torch.stack([tensor for _, tensor, _ in waiting]).tolist()
    for (name, _, iteration), value in zip(waiting, values, strict=True):
        storage._history[name].update(value, iteration)
        storage._latest_scalars[name] = (value, iteration)
    wrong = [
        at for (name, _, at), value in zip(waiting, values, strict=True) if name == _TOTAL and not np.isfinite(value)
    ]
    if wrong:
        losses = {
            name: value
            for (name, _, at), value in zip(waiting, values, strict=True)
            if at == wrong[0] and "loss" in name
        }
        storage._not_finite = f"Loss became infinite or NaN at iteration={wrong[0]}!\nloss_dict = {losses}"
        raise FloatingPointError(storage._not_finite)


def _keeping_tensors(stock_put_scalar: Callable) -> Callable:
    @functools.wraps(stock_put_scalar)
    def put_scalar(self: EventStorage, name: str, value: Any, smoothing_hint: bool = True) -> None:
        if not isinstance(value, torch.Tensor):
            return stock_put_scalar(self, name, value, smoothing_hint)
        name = self._current_prefix + name
        if self._smoothing_hints.setdefault(name, smoothing_hint) != smoothing_hint:
            raise AssertionError(f"Scalar {name} was put with a different smoothing_hint!")
        # A copy, as the tensor may be a view of what the step overwrites; float64 holds what a Python float does
        kept = value.detach().reshape(()).to(torch.float64, copy=True)
        waiting = self.__dict__.setdefault("_waiting", [])
        waiting.append((name, kept, self._iter))
        if len(waiting) >= _MOST_WAITING:
            read_scalars(self)
        return None

    return put_scalar


def _after_reading(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def read(self: EventStorage, *args: Any, **kwargs: Any) -> Any:
        read_scalars(self)
        return stock(self, *args, **kwargs)

    return read


def _write_metrics(self: SimpleTrainer, loss_dict: Mapping[str, torch.Tensor], data_time: float) -> None:
    """Put the losses, averaged over the processes, and the longest wait for data into the storage, reading nothing."""
    losses = torch.stack([loss.detach().reshape(()).double() for loss in loss_dict.values()])
    if comm.get_world_size() > 1:
        mine = torch.cat([losses, losses.new_full((1,), data_time)])
        rows = [torch.empty_like(mine) for _ in range(comm.get_world_size())]
        dist.all_gather(rows, mine)
        of_all = torch.stack(rows)
        losses, data_time = of_all[:, :-1].mean(dim=0), of_all[:, -1].max()
    if not comm.is_main_process():
        return
    storage = get_event_storage()
    storage.put_scalar("data_time", data_time)
    storage.put_scalar(_TOTAL, losses.sum())
    if len(loss_dict) > 1:
        storage.put_scalars(**dict(zip(loss_dict, losses.unbind(), strict=True)))


def _after_checking(stock_save: Callable) -> Callable:
    @functools.wraps(stock_save)
    def save(self: Checkpointer, name: str, **kwargs: Any) -> None:
        if events._CURRENT_STORAGE_STACK:
            storage = get_event_storage()
            read_scalars(storage)
            if hasattr(storage, "_not_finite"):
                raise FloatingPointError(storage._not_finite)
        stock_save(self, name, **kwargs)

    return save
