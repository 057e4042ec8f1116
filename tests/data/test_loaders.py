"""Batches that are prepared ahead, on the CPU and for a GPU, and the epochs of a loader."""

import contextlib
import gc
import itertools
import os
import threading
import time

import numpy as np
import pytest
import torch
from fastreid.data import samplers as stock_samplers
from fastreid.data.transforms.transforms import RandomPatch
from small_runs import small_config
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from mdpr_fastreid.bench.stock_loader import stock_loader
from mdpr_fastreid.data import build_train_loader
from mdpr_fastreid.data.loaders import CudaLoader, PrefetchLoader, start_epoch


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


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("runs_ahead", [True, False])
def test_batches_are_those_of_a_plain_loader_in_every_pass(num_workers, runs_ahead):
    loader = PrefetchLoader(dataset=Numbers(), batch_size=8, num_workers=num_workers, runs_ahead=runs_ahead)
    expected = [batch["images"] for batch in DataLoader(Numbers(), batch_size=8)]
    for _ in range(2):
        batches = [batch["images"] for batch in loader]
        assert len(batches) == len(loader) == 8
        assert all(map(torch.equal, batches, expected))
    assert no_thread_left()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_in_loading_is_raised_where_the_batch_is_asked_for(num_workers):
    batches = iter(PrefetchLoader(dataset=Numbers(bad=9), batch_size=8, num_workers=num_workers))
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
    iterator = iter(PrefetchLoader(dataset=Numbers(), batch_sampler=batches))
    next(iterator)
    assert prefetch_threads() == 1
    del iterator
    gc.collect()
    assert no_thread_left()


def test_the_thread_ends_when_the_iterator_is_closed():
    iterator = iter(PrefetchLoader(dataset=Numbers(), batch_size=1))
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

    iterator = iter(PrefetchLoader(dataset=Recorded(), batch_size=1))
    next(iterator)
    deadline = time.monotonic() + 10
    while len(loaded) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    iterator.close()
    assert 8 <= len(loaded) < 20


def test_shutting_a_loader_down_ends_its_thread_and_its_workers():
    for runs_ahead in (True, False):
        loader = PrefetchLoader(dataset=Numbers(), batch_size=4, num_workers=1, runs_ahead=runs_ahead)
        iterator = iter(loader)
        next(iterator)
        loader.shutdown()
        assert no_thread_left()
        assert list(iterator) == []
        assert len(list(loader)) == 15, "it can be started again"


def test_a_batch_is_finished_in_this_process():
    loader = PrefetchLoader(dataset=Numbers(), batch_size=4, finish=lambda batch: os.getpid(), num_workers=1)
    assert set(loader) == {os.getpid()}


class Draws(torch.utils.data.Sampler):
    """A sampler that shows how it was reseeded."""

    seed = 0

    def reseed(self, seed):
        self.seed = seed

    def __iter__(self):
        return iter(np.random.default_rng(self.seed).permutation(60).tolist())


def epoch_of(loader, seed, epoch):
    torch.manual_seed(epoch)
    return torch.cat([batch["images"][:, 0] for batch in start_epoch(loader, seed, epoch)]).tolist()


def loaders_of_all_kinds():
    def batches(sampler):
        return torch.utils.data.BatchSampler(sampler, 6, drop_last=True)

    class Firsts(stock_samplers.TrainingSampler):
        def __iter__(self):
            return itertools.islice(super().__iter__(), 60)

    distributed = DistributedSampler(Numbers(), num_replicas=1, rank=0)
    return {
        "ours": PrefetchLoader(dataset=Numbers(), batch_sampler=batches(Draws()), num_workers=1),
        "FastReID's sampler": DataLoader(Numbers(), batch_sampler=batches(Firsts(60, seed=3))),
        "torch's sampler": DataLoader(Numbers(), batch_sampler=batches(distributed)),
    }


@pytest.mark.parametrize("kind", loaders_of_all_kinds())
def test_an_epochs_order_follows_from_the_seed_and_the_epoch(kind):
    loader = loaders_of_all_kinds()[kind]
    first = epoch_of(loader, 7, 0)
    assert sorted(first) == list(range(60))
    assert epoch_of(loader, 7, 1) != first
    assert epoch_of(loader, 7, 0) == first
    if kind != "torch's sampler":  # which knows no seeds
        assert epoch_of(loader, 8, 0) != first


def test_an_epoch_ends_the_running_one():
    loader = PrefetchLoader(dataset=Numbers(), batch_sampler=torch.utils.data.BatchSampler(Draws(), 4, True))
    running = start_epoch(loader, 1, 0)
    next(running)
    following = start_epoch(loader, 1, 1)
    assert list(running) == []
    assert len(list(following)) == 15


def test_an_epoch_pastes_no_patches_of_earlier_ones(tmp_path):
    for loader in (training_loader(tmp_path), stock_loader_of(tmp_path)):
        patching = loader.dataset.transform.transforms[-1]
        assert isinstance(patching, RandomPatch)
        for index in range(4):
            loader.dataset[index]
        assert len(patching.patchpool) > 0
        start_epoch(loader, 1, 0)
        assert len(patching.patchpool) == 0


def training_loader(tmp_path):
    return build_train_loader(small_config(tmp_path, "INPUT.RPT.ENABLED", True))


def stock_loader_of(tmp_path):
    items = training_loader(tmp_path).dataset.img_items
    return stock_loader(small_config(tmp_path, "INPUT.RPT.ENABLED", True), items)


class Stream:
    """Stands for a CUDA stream; says what happened in which order."""

    def __init__(self, said):
        self.said = said

    def wait_stream(self, other):
        self.said.append("wait")


@pytest.fixture
def no_gpu(monkeypatch):
    """CUDA's calls, where there is none: what is left to test is the order of the loader's steps."""
    said = []
    monkeypatch.setattr("torch.cuda.set_device", lambda device: said.append(threading.current_thread().name))
    monkeypatch.setattr("torch.cuda.Stream", lambda device: Stream(said))
    monkeypatch.setattr("torch.cuda.stream", lambda stream: contextlib.nullcontext(said.append("copy")))
    monkeypatch.setattr("torch.cuda.current_stream", lambda device: Stream(said))
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: said.append("record"))
    return said


@pytest.mark.filterwarnings("ignore:'pin_memory'")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_gpus_loader_copies_the_next_batch_before_it_hands_one_out(no_gpu, num_workers):
    def finish(batch):
        no_gpu.append("finish")
        return batch

    loader = CudaLoader(torch.device("cpu"), dataset=Numbers(), batch_size=20, num_workers=num_workers, finish=finish)
    batches = [batch["images"] for batch in loader]
    expected = [batch["images"] for batch in DataLoader(Numbers(), batch_size=20)]
    assert all(map(torch.equal, batches, expected)) and len(batches) == 3
    handing_out = ["wait", "record", "record"]  # for the images and the targets
    steps = ["copy", *handing_out, "copy", "finish", *handing_out, "copy", "finish", *handing_out, "finish"]
    assert [step for step in no_gpu if step != "prefetch"] == steps
    assert no_gpu.count("prefetch") == 1, "the thread that pins memory is on the loader's device"
    assert no_thread_left()


@pytest.mark.filterwarnings("ignore:'pin_memory'")
def test_the_gpus_loader_raises_an_error_of_a_worker_and_can_be_shut_down(no_gpu):
    loader = CudaLoader(torch.device("cpu"), dataset=Numbers(bad=17), batch_size=8, num_workers=1)
    with pytest.raises(ZeroDivisionError, match="item 17"):
        list(loader)
    batches = iter(CudaLoader(torch.device("cpu"), dataset=Numbers(), batch_size=1))
    next(batches)
    batches.close()
    assert no_thread_left()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_on_a_gpu_batches_are_those_of_a_plain_loader_in_every_pass(num_workers):
    device = torch.device("cuda", 0)
    loader = CudaLoader(device, dataset=Numbers(), batch_size=8, num_workers=num_workers)
    expected = [batch["images"] for batch in DataLoader(Numbers(), batch_size=8)]
    for _ in range(2):
        batches = [batch["images"] for batch in loader]
        assert all(images.device == device for images in batches)
        assert all(torch.equal(images.cpu(), plain) for images, plain in zip(batches, expected, strict=True))
    loader.shutdown()
    assert no_thread_left()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_on_a_gpu_an_error_in_loading_is_raised_and_nothing_waits(num_workers):
    loader = CudaLoader(torch.device("cuda", 0), dataset=Numbers(bad=17), batch_size=8, num_workers=num_workers)
    with pytest.raises(ZeroDivisionError, match="item 17"):
        list(loader)
    assert no_thread_left()
