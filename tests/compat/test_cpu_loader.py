"""The loader that takes the place of the one with CUDA streams."""

import gc
import threading
import time

import pytest
import torch
from fastreid.data import build as data_build
from torch.utils.data import DataLoader, Dataset

from mdpr_fastreid.compat.cpu_loader import PrefetchLoader

needs_no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="the stock loader stays where there is CUDA")


class Numbers(Dataset):
    def __init__(self, bad: int = -1) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> dict:
        if index == self.bad:
            raise ZeroDivisionError(f"item {index}")
        return {"images": torch.full((2,), float(index)), "targets": index}


@pytest.fixture(autouse=True)
def _earlier_threads():
    """Trainers of other tests may not be collected yet."""
    EARLIER.clear()
    EARLIER.update(threading.enumerate())


EARLIER: set[threading.Thread] = set()


def prefetch_threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate() if thread not in EARLIER)


def no_thread_left() -> bool:
    deadline = time.monotonic() + 10
    while prefetch_threads() and time.monotonic() < deadline:
        time.sleep(0.02)
    return prefetch_threads() == 0


@needs_no_cuda
def test_fastreid_builds_its_loaders_from_this_one():
    assert data_build.DataLoaderX is PrefetchLoader


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("runs_ahead", [True, False])
def test_batches_are_those_of_a_plain_loader_in_every_pass(num_workers, runs_ahead):
    loader = PrefetchLoader(0, dataset=Numbers(), batch_size=8, num_workers=num_workers, pin_memory=True)
    loader.runs_ahead = runs_ahead
    expected = [batch["images"] for batch in DataLoader(Numbers(), batch_size=8)]
    for _ in range(2):
        batches = [batch["images"] for batch in loader]
        assert len(batches) == len(loader) == 8
        assert all(map(torch.equal, batches, expected))
    assert not loader.pin_memory
    assert no_thread_left()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_in_loading_is_raised_where_the_batch_is_asked_for(num_workers):
    batches = iter(PrefetchLoader(0, dataset=Numbers(bad=9), batch_size=8, num_workers=num_workers))
    next(batches)
    with pytest.raises(ZeroDivisionError, match="item 9"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)
    assert no_thread_left()


def test_the_thread_ends_with_an_iterator_that_is_dropped_half_way():
    class Endless(torch.utils.data.Sampler):
        def __iter__(self):
            while True:
                yield 1

    batches = torch.utils.data.BatchSampler(Endless(), 4, drop_last=True)
    iterator = iter(PrefetchLoader(0, dataset=Numbers(), batch_sampler=batches))
    next(iterator)
    assert prefetch_threads() == 1
    del iterator
    gc.collect()
    assert no_thread_left()


def test_the_thread_ends_when_the_iterator_is_closed():
    iterator = iter(PrefetchLoader(0, dataset=Numbers(), batch_size=1))
    next(iterator)
    iterator.close()
    assert prefetch_threads() == 0
    assert list(iterator) == []


def test_batches_are_prepared_before_they_are_asked_for():
    loaded = []

    class Recorded(Numbers):
        def __getitem__(self, index):
            loaded.append(index)
            return super().__getitem__(index)

    iterator = iter(PrefetchLoader(0, dataset=Recorded(), batch_size=1))
    next(iterator)
    deadline = time.monotonic() + 10
    while len(loaded) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    iterator.close()
    assert 8 <= len(loaded) < 20
