"""Processes of a run that are threads of the test's: what FastReID's ``comm`` says depends on the thread that asks."""

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import torch
from fastreid.utils import comm

Result = TypeVar("Result")

_SECONDS = 60


def run_as_processes(count: int, work: Callable[[int], Result], monkeypatch: pytest.MonkeyPatch) -> list[Result]:
    """What ``work(rank)`` returns in each of ``count`` processes, which exchange copies of what they send.

    Raises:
        Exception: what one of them raised; the others end then.
    """
    world = _World(count)
    with monkeypatch.context() as patched:
        patched.setattr(comm, "get_world_size", lambda: count)
        patched.setattr(comm, "get_rank", lambda: world.rank)
        patched.setattr(comm, "is_main_process", lambda: world.rank == 0)
        patched.setattr(comm, "synchronize", world.meet)
        patched.setattr(comm, "gather", world.gather)
        patched.setattr(comm, "_get_global_gloo_group", lambda: None)
        patched.setattr(torch.distributed, "all_gather_object", world.all_gather_object)
        patched.setattr(torch.distributed, "broadcast", world.broadcast)
        with ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(world.run, rank, work) for rank in range(count)]
            errors = [error for future in futures if (error := future.exception())]
            for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
                raise error
            return [future.result() for future in futures]


class _World:
    def __init__(self, count: int) -> None:
        self._local = threading.local()
        self._sent: list[bytes] = [b""] * count
        self._barrier = threading.Barrier(count, timeout=_SECONDS)
        self.meet = self._barrier.wait

    @property
    def rank(self) -> int:
        return self._local.rank

    def run(self, rank: int, work: Callable[[int], Result]) -> Result:
        self._local.rank = rank
        try:
            return work(rank)
        except BaseException:
            self._barrier.abort()
            raise

    def all_gather(self, sent: object) -> list:
        self._sent[self.rank] = pickle.dumps(sent)
        self.meet()
        received = [pickle.loads(one) for one in self._sent]
        self.meet()
        return received

    def all_gather_object(self, received: list, sent: object, group: None) -> None:
        received[:] = self.all_gather(sent)

    def gather(self, sent: object, dst: int = 0) -> list:
        received = self.all_gather(sent)
        return received if self.rank == dst else []

    def broadcast(self, tensor: torch.Tensor, source: int, group: None) -> None:
        tensor.copy_(self.all_gather(tensor)[source])
