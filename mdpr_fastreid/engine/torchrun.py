"""What ``torchrun`` says to the processes that it starts, and what it is told of their end."""

import contextlib
import os
import time
import uuid

import torch.distributed as dist
from fastreid.utils import comm
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from mdpr_fastreid.errors import one_line

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_SECONDS_TO_MEET = 1800.0


def started_by_torchrun() -> bool:
    """Whether ``torchrun``, or what sets the same variables, started this process."""
    return all(name in os.environ for name in _VARIABLES)


def restarts_by_torchrun() -> bool:
    """Whether ``torchrun`` will start the run again if a process of it fails: ``--max-restarts``."""
    return started_by_torchrun() and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def restarted_by_torchrun() -> bool:
    """Whether ``torchrun`` has started the run again: each machine counts the failures of its own processes alone."""
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) if started_by_torchrun() else 0
    return any(count > 0 for count in comm.all_gather(restarts))


def join_group(backend: str) -> None:
    """Make the process group of a run that ``torchrun`` started.

    The store of ``torchrun --max-restarts`` outlives the processes, and what those of an earlier start left in it, such
    as addresses, must not be read: all processes of this start choose a part of it that is their own.

    Args:
        backend: "gloo" or "nccl".
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        dist.init_process_group(backend)
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    own = dist.PrefixStore(common_name(store, rank, size), store)
    dist.init_process_group(backend, store=own, rank=rank, world_size=size)


def common_name(store: dist.Store, rank: int, size: int, seconds: float = _SECONDS_TO_MEET) -> str:
    """A name that all processes of this start agree on, and none of an earlier one has.

    The first process draws it, and answers each of the others by the word that this one drew: what an earlier start
    left in the store answers nobody who lives.

    Args:
        store: that the processes share.
        rank: of this process.
        size: how many there are.
        seconds: to wait for the others.

    Raises:
        TimeoutError: the others did not come.
    """
    own, end = uuid.uuid4().hex, time.monotonic() + seconds
    if rank == 0:
        store.set("start", own)
        waiting = set(range(1, size))
        while waiting:
            for other in sorted(waiting):
                if store.check([f"{own}/came/{other}"]):
                    store.set(f"{own}/answer/{other}", store.get(f"{own}/came/{other}"))
                    waiting.remove(other)
            _pause(end)
        return own
    while True:
        if store.check(["start"]):
            name = store.get("start").decode()
            store.set(f"{name}/came/{rank}", own)
            answer = f"{name}/answer/{rank}"
            if store.check([answer]) and store.get(answer).decode() == own:
                return name
        _pause(end)


def _pause(end: float) -> None:
    if time.monotonic() > end:
        raise TimeoutError("the other processes of the run did not start")
    time.sleep(0.05)


def record_for_torchrun(error: Exception) -> None:
    """Let torchrun's own report of a failed run have an error's message; nothing without torchrun."""
    try:
        raise RuntimeError(one_line(error)) from None  # the report prints the stack of the error that is being handled
    except RuntimeError as bare:
        with contextlib.suppress(OSError):
            get_error_handler().record_exception(bare)
