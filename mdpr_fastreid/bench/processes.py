"""A measurement in a process of its own, so that the memory it finds is its own."""

import argparse
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import torch

from mdpr_fastreid.errors import UsageError

Measured = TypeVar("Measured")

_STATUS = Path("/proc/self/status")


def in_new_process(measure: Callable[..., Measured], *arguments: object) -> Measured:
    """What ``measure(*arguments)`` returns in a fresh interpreter.

    Args:
        measure: a function of a module, which the new process can import.
        arguments: what can be pickled.

    Raises:
        RuntimeError: the process ended without a result, say killed for its memory.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, measure, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError as error:
        process.join()
        what = ", ".join(str(argument) for argument in arguments if isinstance(argument, str | int))
        raise RuntimeError(f"measuring {what} ended with exit code {process.exitcode}") from error
    finally:
        process.join()


def set_threads(args: argparse.Namespace) -> None:
    """Let PyTorch compute with ``--threads``, where given; a new process needs it again."""
    if args.threads is not None:
        torch.set_num_threads(args.threads)


def resident_memory(name: str) -> float:
    """GiB of this process in memory: now (``VmRSS``), or the most so far (``VmHWM``).

    Raises:
        UsageError: this system has no ``/proc``.
    """
    if not _STATUS.exists():
        raise UsageError("the peak memory of a process is read from /proc, which is not here: run it on Linux")
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) / 2**20 for line in lines if line.startswith(f"{name}:"))


def _send(sender: Connection, measure: Callable, arguments: tuple) -> None:
    sender.send(measure(*arguments))
