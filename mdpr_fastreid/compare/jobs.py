"""``--status`` and ``--cancel``: the jobs of a comparison, from the folders of its runs and what the cluster says."""

import re
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from mdpr_fastreid.compare import launch, records
from mdpr_fastreid.compare.launchers.attempts import Attempt, log_of, read_attempt, write_attempt
from mdpr_fastreid.compare.launchers.submitted import CANCELLED, Cluster, JobState
from mdpr_fastreid.compare.plan import Plan
from mdpr_fastreid.errors import UsageError, shown
from mdpr_fastreid.io import write_whole

_HEADINGS = ("run", "job", "state", "iteration", "resubmissions", "log")
_MOST_LISTED = 6
_SECONDS_TO_END = 60.0


def status(output: Path, cluster: Cluster) -> str:
    """A table of all runs, why some failed, and whether a command watches them.

    Args:
        output: the comparison's folder; its command may be at work.
        cluster: where jobs are.

    Raises:
        UsageError: there are no runs.
    """
    folders = _folders(output)
    states = cluster.states([one.name for one in _at_work(folders).values()])
    rows = [_row(name, folder, states or {}) for name, folder in folders.items()]
    lines = [tabulate(rows, _HEADINGS, tablefmt="plain", disable_numparse=True)]
    failures = {name: records.read_json(folder / records.FAILURE) for name, folder in folders.items()}
    lines += [f"{name} failed: {failure.get('error', '')}" for name, failure in failures.items() if failure]
    if states is None:
        lines.append("the cluster does not answer: these are the states that were seen last")
    watched = launch.is_used(output)
    if not watched and any(row[2] not in ("finished", "failed") for row in rows):
        lines.append("no mdpr compare is at work here: the same command goes on, and submits again what has ended")
    return "\n".join(lines)


def cancel(output: Path, cluster: Cluster) -> str:
    """End the jobs of a comparison, and the command that watches them.

    Args:
        output: the comparison's folder.
        cluster: where its jobs are.

    Returns:
        What was done, as a sentence.

    Raises:
        UsageError: there are no jobs, or the cluster does not do it.
    """
    folders = _folders(output)
    if not _at_work(folders):
        raise UsageError(f"{output} has no jobs at work")
    if cluster.states([one.name for one in _at_work(folders).values()]) is None:
        raise UsageError("the cluster does not answer: call it where its jobs are submitted")
    mark = output / CANCELLED
    write_whole(mark, b"")
    with ExitStack() as stack:
        try:
            stack.enter_context(launch.sole_user(output, _SECONDS_TO_END))
        except UsageError as error:
            raise UsageError(
                f"the mdpr compare that watches {output} does not end within {_SECONDS_TO_END:.0f} seconds: end it, "
                "and call --cancel again"
            ) from error
        mark.unlink(missing_ok=True)
        attempts = _at_work(folders)  # the command may have submitted another one before it saw the mark
        names = [attempt.name for attempt in attempts.values()]
        cluster.cancel(names)
        _wait(cluster, names)
        for name, attempt in attempts.items():
            write_attempt(folders[name], replace(attempt, state="CANCELLED", over=True))
    numbers = ", ".join(attempt.id or attempt.name for attempt in attempts.values())
    jobs = f"{len(attempts)} job{'s' * (len(attempts) != 1)}"
    return f"cancelled {jobs} ({numbers}); the same command goes on from the last checkpoints"


def refuse_jobs(output: Path) -> None:
    """Refuse to do runs on this machine that have jobs on a cluster.

    Raises:
        UsageError: which they are, and what to do.
    """
    at_work = _at_work(_folders(output, required=False))
    if at_work:
        listed = [f"{name} as job {one.id or one.name}" for name, one in at_work.items()]
        more = f" and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
        raise UsageError(
            f"runs of {output} are at work on a cluster ({', '.join(listed[:_MOST_LISTED])}{more}): --launcher slurm "
            "goes on with them, --cancel ends them"
        )


def refuse_changed(plan: Plan) -> None:
    """Refuse to set aside the folder of a run in which a job is at work.

    Raises:
        UsageError: which run it is, and what was changed.
    """
    for run in plan.runs:
        folder = plan.folder(run)
        attempt = _at_work({run.name: folder}).get(run.name)
        different = records.changed(folder, records.conditions(run.cfg, plan.data.digest)) if attempt else []
        if different:
            raise UsageError(
                f"{run.name} is at work as job {attempt.id or attempt.name} under other conditions "
                f"({records.listing(different)}): end it with --cancel, or choose another --output"
            )


def _folders(output: Path, required: bool = True) -> dict[str, Path]:
    """The runs' folders by ``method/seed0``."""
    found = [path for path in output.glob("runs/*/*") if re.fullmatch(r"seed\d+", path.name)]
    if required and not found:
        raise UsageError(f"{output} has no runs of a comparison; name its folder with --output")
    key = {path: (path.parent.name, int(path.name.removeprefix("seed"))) for path in found}
    return {f"{path.parent.name}/{path.name}": path for path in sorted(found, key=key.get)}


def _at_work(folders: Mapping[str, Path]) -> dict[str, Attempt]:
    """Attempts that have left neither a result nor a failure, and that nobody has seen to end for good."""
    found = {}
    for name, folder in folders.items():
        attempt = read_attempt(folder)
        if attempt and not attempt.over and not _outcome(folder):
            found[name] = attempt
    return found


def _outcome(folder: Path) -> str:
    if records.read_result(folder):
        return "finished"
    return "failed" if (folder / records.FAILURE).is_file() else ""


def _row(name: str, folder: Path, states: Mapping[str, JobState]) -> tuple[str, ...]:
    attempt = read_attempt(folder)
    state = _outcome(folder)
    progress = records.read_json(folder / records.PROGRESS) or {}
    how_far = f"{progress['iteration']}/{progress['total']}" if "total" in progress else ""
    if attempt is None:
        return (name, "", state or progress.get("phase", "waiting"), how_far, "", "")
    seen = states.get(attempt.name)
    if not state and seen and seen.alive:
        state = f"{seen.state} ({seen.reason})" if seen.reason else seen.state
    elif not state:
        last = seen.state if seen else attempt.state
        state = "cancelled" if attempt.over else f"ended ({last})" if last else "ended"
    log = log_of(folder, attempt)
    shown_log = shown(str(log)) if log.is_file() else ""
    number = seen.id if seen else attempt.id
    return (name, number, state, how_far, str(attempt.resubmissions), shown_log)


def _wait(cluster: Cluster, names: list[str]) -> None:
    """Until no job is alive: the next one would work in the same folder.

    Raises:
        UsageError: one does not end.
    """
    deadline = time.monotonic() + _SECONDS_TO_END
    while True:
        states = cluster.states(names)
        alive = None if states is None else [one.id for one in states.values() if one.alive]
        if alive == []:
            return
        if time.monotonic() > deadline:
            which = "the cluster does not answer" if alive is None else f"still at work: {', '.join(alive)}"
            raise UsageError(f"{which}; look with --status, and call --cancel again")
        time.sleep(0.5)
