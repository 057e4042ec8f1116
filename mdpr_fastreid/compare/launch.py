"""Runs the runs of a plan, one process each: a failed one leaves the others alone, finished ones are not repeated."""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from filelock import FileLock, Timeout

from mdpr_fastreid.compare import processes, records
from mdpr_fastreid.compare.plan import Plan, Run
from mdpr_fastreid.compare.progress import ComparisonProgress
from mdpr_fastreid.config import without_unused_project_keys
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import write_whole

_POLL_SECONDS = 0.2

Command = Callable[[Path], list[str]]
"""The words that start a run in its folder."""


def worker_command(folder: Path, imports: Sequence[str] = ()) -> list[str]:
    """Run :mod:`mdpr_fastreid.compare.worker` with the interpreter of this process."""
    return [sys.executable, "-m", "mdpr_fastreid.compare.worker", str(folder), *imports]


@dataclass
class _Started:
    run: Run
    process: subprocess.Popen
    slot: int
    since: float = field(default_factory=time.monotonic)


def prepare(plan: Plan) -> tuple[list[Run], list[str]]:
    """Make the folders of the runs, and find out which are left to do.

    A run that was trained under other conditions is set aside whole, finished or not: its folder gets another name.

    Returns:
        The runs without a result, in order, and what the user should know, a line each.

    Raises:
        UsageError: a folder cannot be written.
    """
    left, notices = [], []
    for run in plan.runs:
        folder = plan.folder(run)
        now = records.conditions(run.cfg, plan.data.digest)
        different = records.changed(folder, now)
        if different:
            reason = f"{run.name} was run under other conditions ({records.listing(different)})"
            if any(map(records.concerns_training, different)):
                notices.append(f"{reason}: it is kept as {_set_aside(folder)}, and is run anew")
            else:
                notices.append(f"{reason}: its weights are evaluated anew")
                (folder / records.RESULT).unlink(missing_ok=True)
        settings = yaml.safe_dump(yaml.safe_load(without_unused_project_keys(run.cfg).dump()), sort_keys=True)
        write_whole(folder / records.SETTINGS, settings.encode())
        records.write_json(folder / records.CONDITIONS, now)
        if records.read_result(folder) is None:
            if (folder / records.RESULT).is_file():
                notices.append(f"{folder / records.RESULT} is damaged: {run.name} is evaluated anew")
                (folder / records.RESULT).unlink()
            left.append(run)
    return left, notices


def launch(plan: Plan, left: Sequence[Run], jobs: int = 1, command: Command | None = None) -> None:
    """Do the runs that are left, up to ``jobs`` at a time, and show how far they are.

    A run that fails leaves ``failure.json`` in its folder; the others go on. On an interruption the running ones
    are ended (they resume from their last checkpoint), and ``KeyboardInterrupt`` goes on.

    Args:
        plan: what the runs belong to.
        left: the runs to do, as :func:`prepare` gives them.
        jobs: processes at a time, spread over the GPUs if there are several.
        command: what starts a run; :func:`worker_command` by default.
    """
    command = command or functools.partial(worker_command, imports=plan.imports)
    waiting, running = list(left), []
    progress = ComparisonProgress(plan, list(left))
    try:
        while waiting or running:
            for started in [one for one in running if one.process.poll() is not None]:
                running.remove(started)
                _close(plan, started)
                progress.ended(started.run, time.monotonic() - started.since)
            for run in list(waiting):
                if len(running) == jobs or not _has_source(plan, run, waiting, running):
                    continue
                waiting.remove(run)
                slot = min(set(range(jobs)) - {one.slot for one in running})
                running.append(_start(plan, run, slot, jobs, command))
            progress.show([(one.run, one.since) for one in running])
            time.sleep(_POLL_SECONDS if running else 0)
    finally:
        for one in running:
            processes.end(one.process)
        progress.close()


@contextmanager
def sole_user(output: Path) -> Iterator[None]:
    """Hold the comparison's folder for this process.

    Raises:
        UsageError: another process has it, or it cannot be written.
    """
    records.make_output(output)
    lock = FileLock(output / ".lock")  # the system frees it when the process ends, however it ends
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"another mdpr compare is at work in {output}: wait for it, look at what it has with --report-only, or "
            "choose another --output"
        ) from None
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}; choose another --output") from error
    try:
        yield
    finally:
        lock.release()


def _has_source(plan: Plan, run: Run, waiting: list[Run], running: list[_Started]) -> bool:
    """Whether a run can start: one that only evaluates waits for the training of its weights."""
    unfinished = [*waiting, *(one.run for one in running)]
    return run.trained or not any(one.method.name == run.source and one.seed == run.seed for one in unfinished)


def _start(plan: Plan, run: Run, slot: int, jobs: int, command: Command) -> _Started:
    folder = plan.folder(run)
    for name in (records.PROGRESS, records.FAILURE):
        (folder / name).unlink(missing_ok=True)
    environment = dict(os.environ)
    if jobs > 1 and "OMP_NUM_THREADS" not in environment:
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    if jobs > 1 and torch.cuda.device_count() > 1 and "CUDA_VISIBLE_DEVICES" not in environment:
        environment["CUDA_VISIBLE_DEVICES"] = str(slot % torch.cuda.device_count())
    with (folder / records.OUTPUT).open("a") as output:
        process = processes.start(command(folder), output, environment)
    return _Started(run, process, slot)


def _close(plan: Plan, ended: _Started) -> None:
    """Make sure that a run that ended without a result says why."""
    folder, code = plan.folder(ended.run), ended.process.returncode
    if (folder / records.RESULT).is_file() or (folder / records.FAILURE).is_file():
        return
    if killer := processes.signal_that_ended(code):
        error = f"ended by {killer}"
    else:
        lines = (folder / records.OUTPUT).read_text(errors="replace").strip().splitlines()
        error = lines[-1] if lines else f"exit code {code}"
    records.write_json(folder / records.FAILURE, {"error": error, "log": str(folder / records.OUTPUT)})


def _set_aside(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.earlier-{number}")).exists():
        number += 1
    return folder.rename(aside)
