"""``DataLoaderX`` prefetches through CUDA streams, so it cannot be built on a CPU, always.

Its thread also swallows the error of a worker, after which the run waits for ever. Here the thread
passes errors on and ends with its iterator. On a machine with CUDA the stock loader stays, unless the
config asks for the CPU. Can go when FastReID's loader asks whether there is a CUDA device.
"""

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from fastreid.data import data_utils
from torch.utils.data import DataLoader

from mdpr_fastreid.compat.replacing import replace

_DEPTH = 10
_END = object()


def apply() -> None:
    """Take ``PrefetchLoader`` for ``DataLoaderX`` where there is no CUDA."""
    if not torch.cuda.is_available():
        replace(data_utils, "DataLoaderX", PrefetchLoader)


class PrefetchLoader(DataLoader):
    """A ``DataLoader`` whose batches are prepared by a background thread while the model computes.

    Args:
        local_rank: accepted for the stock signature; batches stay on the CPU.
        kwargs: of ``torch.utils.data.DataLoader``; memory is not pinned.
    """

    def __init__(self, local_rank: int = 0, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "pin_memory": False})
        self.local_rank = local_rank

    # Off, the loader's workers still prefetch, but nothing draws random numbers beside the main thread
    runs_ahead = True

    @staticmethod
    def finish(batch: Any) -> Any:
        """What is done with a batch before anybody gets it; a loader may have its own."""
        return batch

    def __iter__(self) -> Iterator:
        start = super().__iter__

        def batches() -> Iterator:
            return map(self.finish, start())

        if self.runs_ahead:
            return PrefetchIterator(batches)
        return (batch for start_now in [batches] for batch in start_now())

    def shutdown(self) -> None:
        """Nothing to do, each iterator ends its own thread; kept for the stock interface."""


class PrefetchIterator:
    """Iterates in a background thread, at most ten batches ahead, from the first ``next`` on.

    An error in the thread is raised by ``next``. The thread ends when the iterator is exhausted,
    closed, or no longer referenced.

    Args:
        start: returns the iterator to run ahead of; called at the first ``next``.
    """

    def __init__(self, start: Callable[[], Iterator]) -> None:
        self._start = start
        self._ahead: queue.Queue = queue.Queue(_DEPTH)
        self._stop = threading.Event()
        self._thread = None
        self._finished = False
        weakref.finalize(self, _stop_running, self._ahead, self._stop)

    def __iter__(self) -> "PrefetchIterator":
        return self

    def __next__(self) -> Any:
        if self._finished:
            raise StopIteration
        if self._thread is None:
            # Workers are forked here: in the thread, locks held by the main one would stay locked in them
            arguments = (self._start(), self._ahead, self._stop)
            self._thread = threading.Thread(target=_run_ahead, args=arguments, name="prefetch", daemon=True)
            self._thread.start()
        item, error = self._ahead.get()
        if item is _END or error is not None:
            self._finished = True
            self._thread.join()
            raise error or StopIteration
        return item

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._finished = True
        _stop_running(self._ahead, self._stop)
        if self._thread is not None:
            self._thread.join()


def _run_ahead(source: Iterator, ahead: queue.Queue, stop: threading.Event) -> None:
    try:
        for item in source:
            ahead.put((item, None))
            if stop.is_set():
                return
        last = (_END, None)
    except BaseException as error:
        last = (None, error)
    ahead.put(last)


def _stop_running(ahead: queue.Queue, stop: threading.Event) -> None:
    stop.set()
    while True:  # the thread may be waiting for room in the queue
        try:
            ahead.get_nowait()
        except queue.Empty:
            return
