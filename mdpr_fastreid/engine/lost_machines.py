"""Names the machine that was lost, where a run has several: the others only see that a connection ended, or nothing."""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

from mdpr_fastreid.engine.torchrun import record_for_torchrun
from mdpr_fastreid.errors import UsageError, one_line

PATIENCE_VARIABLE = "MDPR_PATIENCE"
"""Environment variable: after how many seconds without a sign of life a machine counts as lost."""

_PATIENCE, _BEAT = 60.0, 5.0
# What the processes that were not lost need to find the same, from the first of them to the last
_SECONDS_TO_NOTICE = 10.0
_WAY_OUT = (
    "start the run again with --resume, which goes on from the last checkpoint (torchrun --max-restarts does so itself)"
)
_CONNECTION_WORDS = ("gloo/transport", "Connection closed by peer", "Connection reset by peer", "NCCL", "Broken pipe")


class LostMachineError(RuntimeError):
    """Processes of the run on other machines are gone; the message names them."""


def patience() -> float:
    """After how many seconds without a sign of life a machine counts as lost.

    Raises:
        UsageError: ``MDPR_PATIENCE`` is no such number.
    """
    text = os.environ.get(PATIENCE_VARIABLE, str(_PATIENCE))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86400:
        raise UsageError(f"the environment variable {PATIENCE_VARIABLE} must be seconds from 1 to 86400, got {text!r}")
    return seconds


@contextlib.contextmanager
def naming_lost_machines() -> Iterator[None]:
    """Around the work of one process of a group: if the run is on several machines, what is lost is named.

    Every process of the group has to enter. A process that blocks for ever, because a machine vanished without a
    word, is ended with exit code 1 after :func:`patience`.

    Raises:
        LostMachineError: instead of the error of a connection.
    """
    seconds = patience()
    hosts: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(hosts, socket.gethostname())
    if len(set(hosts)) == 1:
        yield
        return
    peers = _Peers(_get_default_store(), dist.get_rank(), hosts, seconds)
    peers.watch()
    try:
        yield
    except Exception as error:
        peers.stop()
        if not is_lost_connection(error):
            peers.leave_word(one_line(error) or type(error).__name__)
            raise
        raise LostMachineError(peers.lost()) from error
    finally:
        peers.stop()


def is_lost_connection(error: Exception) -> bool:
    """Whether an error says that a connection to another process ended."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CONNECTION_WORDS)


class _Peers:
    """The processes of a group, as they show in its store.

    Args:
        store: of the group.
        rank: of this process.
        hosts: the machine of each process.
        seconds: of patience.
    """

    def __init__(self, store: dist.Store, rank: int, hosts: list[str], seconds: float) -> None:
        # A connection of its own: an operation that blocks would keep the group's
        self.store = store.clone() if hasattr(store, "clone") else store
        self.rank, self.hosts, self.patience = rank, hosts, seconds
        self.others = [other for other in range(len(hosts)) if other != rank]
        self._stopped = threading.Event()
        self._last_answer = time.monotonic()

    def watch(self) -> None:
        """Begin to show that this process lives, and to see whether the others do."""
        self.store.set(f"beat/{self.rank}", "0")
        dist.barrier()  # all have a beat to be read
        self._last_answer = time.monotonic()
        for work in (self._beat, self._guard):
            threading.Thread(target=work, daemon=True).start()

    def stop(self) -> None:
        """End the watch."""
        self._stopped.set()

    def leave_word(self, message: str) -> None:
        """Say to the others why this process ends."""
        with contextlib.suppress(RuntimeError):
            self.store.set(f"ended/{self.rank}", message)

    def lost(self) -> str:
        """After an error of a connection: which processes are gone, in one line."""
        try:
            self.store.set(f"noticed/{self.rank}", "1")
            silent = self.others
            end = time.monotonic() + _SECONDS_TO_NOTICE
            while silent and time.monotonic() < end:
                time.sleep(0.2)
                ended = [other for other in silent if self.store.check([f"ended/{other}"])]
                if ended:
                    return self._ended(ended[0])
                silent = [other for other in silent if not self.store.check([f"noticed/{other}"])]
        except RuntimeError:
            return self._lost_store()
        if not silent:
            return f"the connections between {_listed(sorted(set(self.hosts)))} failed, and no process did: {_WAY_OUT}"
        return self._were_lost(silent)

    def _beat(self) -> None:
        seen = {other: (b"", time.monotonic()) for other in self.others}
        keys = [f"beat/{other}" for other in self.others]
        for count in range(1, sys.maxsize):
            if self._stopped.wait(min(_BEAT, self.patience / 4)):
                return
            try:
                self.store.set(f"beat/{self.rank}", str(count))
                beats = self.store.multi_get(keys)
            except RuntimeError:
                continue  # _guard sees that no answer comes
            now = self._last_answer = time.monotonic()
            for other, beat in zip(self.others, beats, strict=True):
                if beat != seen[other][0]:
                    seen[other] = (beat, now)
            silent = [other for other, (_, since) in seen.items() if now - since > self.patience]
            if silent and not self._stopped.is_set():
                _end_process(self._were_lost(silent, f"has shown no sign of life for {self.patience:.0f} s"))

    def _guard(self) -> None:
        while not self._stopped.wait(min(_BEAT, self.patience / 4)):
            if time.monotonic() - self._last_answer > self.patience + _BEAT and not self._stopped.is_set():
                _end_process(self._lost_store())

    def _were_lost(self, ranks: list[int], how: str = "is gone (killed, switched off or cut off)") -> str:
        by_host = {self.hosts[rank]: [r for r in ranks if self.hosts[r] == self.hosts[rank]] for rank in ranks}
        named = [
            f"{host} (process{'es' if len(at) > 1 else ''} {_listed(list(map(str, at)))} of {len(self.hosts)})"
            for host, at in by_host.items()
        ]
        return f"{_listed(named)} {how}: {_WAY_OUT}"

    def _lost_store(self) -> str:
        host = os.environ.get("MASTER_ADDR") or self.hosts[0]
        return f"{host}, the machine that all others report to, cannot be reached: {_WAY_OUT}"

    def _ended(self, rank: int) -> str:
        message = self.store.get(f"ended/{rank}").decode(errors="replace")
        return f"process {rank} of {len(self.hosts)}, on {self.hosts[rank]}, ended with: {message}"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _end_process(message: str) -> NoReturn:
    """From a thread, while the main one blocks in the network."""
    record_for_torchrun(LostMachineError(message))
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr, flush=True)
    os._exit(1)
