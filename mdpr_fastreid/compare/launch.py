"""Does the runs of a plan: a failed one leaves the others alone, finished ones are not repeated."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from mdpr_fastreid.compare import records
from mdpr_fastreid.compare.launchers import Launcher
from mdpr_fastreid.compare.plan import Plan, Run
from mdpr_fastreid.compare.progress import ComparisonProgress
from mdpr_fastreid.config import without_unused_project_keys
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import write_whole


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
        if not _has_source(run, left):
            (folder / records.RESULT).unlink(missing_ok=True)  # it is of other weights
        if records.read_result(folder) is None:
            if (folder / records.RESULT).is_file():
                notices.append(f"{folder / records.RESULT} is damaged: {run.name} is evaluated anew")
                (folder / records.RESULT).unlink()
            left.append(run)
    return left, notices


def launch(plan: Plan, left: Sequence[Run], launcher: Launcher, on_ended: Callable[[], object] | None = None) -> None:
    """Do the runs that are left, and show how far they are.

    A run that fails leaves ``failure.json`` in its folder; the others go on. On an interruption the launcher leaves the
    ones at work, and ``KeyboardInterrupt`` goes on.

    Args:
        plan: what the runs belong to.
        left: the runs to do, as :func:`prepare` gives them.
        launcher: where they are done.
        on_ended: called when runs have ended.
    """
    waiting, running = list(left), {}
    progress = ComparisonProgress(plan, list(left), timed=not launcher.elsewhere)
    try:
        while waiting or running:
            ended = launcher.ended(list(running)) if running else []
            for run in ended:
                progress.ended(run, time.monotonic() - running.pop(run))
            if ended and on_ended:
                on_ended()
            for run in list(waiting):
                if len(running) == launcher.at_once or not _has_source(run, [*waiting, *running]):
                    continue
                waiting.remove(run)
                launcher.start(run)
                running[run] = time.monotonic()
            for line in launcher.notices():
                progress.add(line)
            progress.show(list(running.items()))
            time.sleep(launcher.seconds if running else 0)
    finally:
        launcher.leave(list(running))
        progress.close()


@contextmanager
def sole_user(output: Path, seconds: float = 0.0) -> Iterator[None]:
    """Hold the comparison's folder for this process.

    Args:
        output: the folder.
        seconds: to wait for another process that has it.

    Raises:
        UsageError: another process has it, or it cannot be written.
    """
    records.make_output(output)
    lock = FileLock(output / ".lock")  # the system frees it when the process ends, however it ends
    try:
        lock.acquire(timeout=seconds)
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


def is_used(output: Path) -> bool:
    """Whether a process holds the comparison's folder."""
    try:
        with FileLock(output / ".lock", timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _has_source(run: Run, unfinished: Sequence[Run]) -> bool:
    """Whether a run can start: one that only evaluates waits for the training of its weights."""
    return run.trained or not any(one.method.name == run.source and one.seed == run.seed for one in unfinished)


def _set_aside(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.earlier-{number}")).exists():
        number += 1
    return folder.rename(aside)
