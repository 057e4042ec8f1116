"""Runs as processes of this machine, which end with the comparison."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mdpr_fastreid.compare import processes, records
from mdpr_fastreid.compare.plan import Plan, Run

_POLL_SECONDS = 0.2

Command = Callable[[Path], list[str]]
"""The words that start a run in its folder."""


def worker_command(folder: Path, imports: Sequence[str] = ()) -> list[str]:
    """Run :mod:`mdpr_fastreid.compare.worker` with the interpreter of this process."""
    return [sys.executable, "-m", "mdpr_fastreid.compare.worker", str(folder), *imports]


@dataclass
class _Started:
    process: subprocess.Popen
    slot: int


class Local:
    """A process a run.

    Args:
        plan: what the runs belong to.
        jobs: processes at a time, spread over the GPUs if there are several.
        command: what starts a run; :func:`worker_command` by default.
    """

    def __init__(self, plan: Plan, jobs: int = 1, command: Command | None = None) -> None:
        self._plan = plan
        self._command = command or functools.partial(worker_command, imports=plan.imports)
        self._started: dict[Run, _Started] = {}
        self.at_once = jobs
        self.seconds = _POLL_SECONDS
        self.elsewhere = False
        self.when_left = "the same command goes on from the last checkpoints"

    def start(self, run: Run) -> None:
        """Start the process of a run, in a slot of its own."""
        slot = min(set(range(self.at_once)) - {one.slot for one in self._started.values()})
        folder = self._plan.folder(run)
        for name in (records.PROGRESS, records.FAILURE):
            (folder / name).unlink(missing_ok=True)
        with (folder / records.OUTPUT).open("a") as output:
            process = processes.start(self._command(folder), output, self._environment(slot))
        self._started[run] = _Started(process, slot)

    def ended(self, runs: Sequence[Run]) -> list[Run]:
        """Those whose process has ended."""
        over = [run for run in runs if self._started[run].process.poll() is not None]
        for run in over:
            self._close(run, self._started.pop(run).process.returncode)
        return over

    def notices(self) -> list[str]:
        """None: how a run ended is in its folder."""
        return []

    def leave(self, runs: Sequence[Run]) -> None:
        """End them; they resume from their last checkpoint."""
        for run in runs:
            processes.end(self._started.pop(run).process)

    def _environment(self, slot: int) -> dict[str, str]:
        environment = dict(os.environ)
        if self.at_once > 1 and "OMP_NUM_THREADS" not in environment:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.at_once))
        if self.at_once > 1 and torch.cuda.device_count() > 1 and "CUDA_VISIBLE_DEVICES" not in environment:
            environment["CUDA_VISIBLE_DEVICES"] = str(slot % torch.cuda.device_count())
        return environment

    def _close(self, run: Run, code: int) -> None:
        """Make sure that a run that ended without a result says why."""
        folder = self._plan.folder(run)
        if (folder / records.RESULT).is_file() or (folder / records.FAILURE).is_file():
            return
        if killer := processes.signal_that_ended(code):
            error = f"ended by {killer}"
        else:
            lines = (folder / records.OUTPUT).read_text(errors="replace").strip().splitlines()
            error = lines[-1] if lines else f"exit code {code}"
        records.write_json(folder / records.FAILURE, {"error": error, "log": str(folder / records.OUTPUT)})
