"""Loaders that prepare batches while the model computes: the process boundary, the device, and epochs."""

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from fastreid.data.transforms.transforms import RandomPatch
from torch.utils.data import DataLoader

from mdpr_fastreid.data.samplers import reseed

_DEPTH = 10
_END = object()


class PrefetchLoader(DataLoader):
    """A ``DataLoader`` whose batches are prepared by a background thread.

    Args:
        finish: what is done with a batch before it is handed out; by default nothing.
        runs_ahead: False to do without the thread: the workers still prefetch, but nothing draws random numbers beside
            the main thread, as a run that can be repeated needs it.
        kwargs: of ``torch.utils.data.DataLoader``.
    """

    def __init__(
        self, *, finish: Callable[[Any], Any] = lambda batch: batch, runs_ahead: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.finish = finish
        self.runs_ahead = runs_ahead
        self._running: Callable[[], Any] = lambda: None

    def __iter__(self) -> Iterator:
        iterator = self._batches(super().__iter__)
        self._running = weakref.ref(iterator)
        return iterator

    def _batches(self, start: Callable[[], Iterator]) -> Iterator:
        def finished() -> Iterator:
            return map(self.finish, start())

        return PrefetchIterator(finished) if self.runs_ahead else _each(finished)

    def shutdown(self) -> None:
        """End the iterator that was started last, its thread and its workers with it."""
        running = self._running()
        if running is not None:
            running.close()


class CudaLoader(PrefetchLoader):
    """A loader that copies each batch to the GPU, on a stream of its own, while the one before it is computed on.

    Like FastReID's ``DataLoaderX``, but that the error of a worker is raised instead of waited for without end.

    Args:
        device: the GPU.
        finish: as of :class:`PrefetchLoader`; gets the batch on the device.
        kwargs: of ``torch.utils.data.DataLoader``.
    """

    def __init__(self, device: torch.device, **kwargs: Any) -> None:
        super().__init__(**kwargs, pin_memory=True)
        self.device = device

    def _batches(self, start: Callable[[], Iterator]) -> Iterator:
        batches = PrefetchIterator(start, prepare=lambda: torch.cuda.set_device(self.device))
        return _closing(batches, self._moved(batches))

    def _moved(self, batches: Iterator) -> Iterator:
        stream = torch.cuda.Stream(self.device)
        following = self._copied(next(batches, None), stream)
        while following is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(stream)
            batch = following
            for value in batch.values():
                if isinstance(value, torch.Tensor):
                    value.record_stream(current)  # its memory must not be used again before the model is done with it
            following = self._copied(next(batches, None), stream)
            yield self.finish(batch)

    def _copied(self, batch: dict[str, Any] | None, stream: torch.cuda.Stream) -> dict[str, Any] | None:
        if batch is None:
            return None
        with torch.cuda.stream(stream):
            return {
                key: value.to(self.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
                for key, value in batch.items()
            }


class PrefetchIterator:
    """Iterates in a background thread, at most ten batches ahead, from the first ``next`` on.

    An error in the thread is raised by ``next``. The thread ends when the iterator is exhausted, closed, or no longer
    referenced.

    Args:
        start: returns the iterator to run ahead of; called at the first ``next``.
        prepare: called in the thread before it iterates.
    """

    def __init__(self, start: Callable[[], Iterator], prepare: Callable[[], None] = lambda: None) -> None:
        self._start = start
        self._prepare = prepare
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
            arguments = (self._start(), self._prepare, self._ahead, self._stop)
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


def start_epoch(loader: DataLoader, seed: int, epoch: int) -> Iterator:
    """A new iterator over a loader, whose batches follow from the seed and the epoch.

    The running iterator of one of our loaders, or of FastReID's, ends; of any other, drop it before. What the workers
    draw follows from torch's generator in this process: seed that first.

    Args:
        loader: one of ours, or any other of torch's.
        seed: ``SEED``, at least 0; the same in all processes, as the samplers share their draws.
        epoch: from 0.
    """
    if isinstance(loader, PrefetchLoader) or "iter" in vars(loader):  # FastReID's own has one once it was started
        loader.shutdown()
    reseed(getattr(loader.batch_sampler, "sampler", None), _sampler_seed(seed, epoch), epoch)
    for transform in getattr(getattr(loader.dataset, "transform", None), "transforms", ()):
        if isinstance(transform, RandomPatch):  # it pastes from the images of earlier epochs
            transform.patchpool.clear()
    return iter(loader)


def _sampler_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch + 1]).generate_state(1)[0])


def _each(start: Callable[[], Iterator]) -> Iterator:
    yield from start()


def _closing(source: PrefetchIterator, batches: Iterator) -> Iterator:
    try:
        yield from batches
    finally:
        source.close()


def _run_ahead(source: Iterator, prepare: Callable[[], None], ahead: queue.Queue, stop: threading.Event) -> None:
    try:
        prepare()
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
