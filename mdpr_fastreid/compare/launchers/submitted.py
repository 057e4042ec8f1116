"""Runs as jobs of a cluster, which go on when the comparison ends and are found again by the next one."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from mdpr_fastreid.compare import records
from mdpr_fastreid.compare.launchers import CancelledError
from mdpr_fastreid.compare.launchers.attempts import ATTEMPT, Attempt, log_of, new_attempt, read_attempt, write_attempt
from mdpr_fastreid.compare.plan import Plan, Run
from mdpr_fastreid.errors import UsageError

CANCELLED = ".cancelled"
"""The file in a comparison's folder by which ``--cancel`` reaches the command that watches the jobs."""

_SECONDS_FOR_AN_ANSWER = 30.0  # until a submission of which only the name is known counts as never made
_SECONDS_FOR_FILES = 30.0  # until a result that another machine has written is seen here, too


class JobState(NamedTuple):
    """A job as the scheduler knows it."""

    id: str
    state: str
    """The scheduler's word: ``RUNNING``."""
    alive: bool
    """Whether it waits, runs, or may still run."""
    reason: str = ""
    """Why it waits."""


class Cluster(Protocol):
    """What submits jobs, finds and cancels them, by their names."""

    seconds: float
    """Between two questions for states."""

    def submit(self, folder: Path, name: str, imports: Sequence[str]) -> str:
        """Submit the run of a folder, and give the job's number back.

        Raises:
            UsageError: it was refused; with the scheduler's words.
        """

    def states(self, names: Collection[str]) -> Mapping[str, JobState] | None:
        """Of the jobs of these names that it still knows; None when it cannot be asked now."""

    def cancel(self, names: Collection[str]) -> None:
        """End those of them that are not over."""


def forget_cancelling(output: Path) -> None:
    """Let jobs be submitted again after ``--cancel`` has ended those of before; for who holds the folder."""
    (output / CANCELLED).unlink(missing_ok=True)


class Submitted:
    """A job a run. One that ends without a result is submitted again: its run goes on from its checkpoint.

    Args:
        plan: what the runs belong to.
        cluster: where.
        jobs: most of them waiting or running; None for all.
        resubmissions: most of a run.
    """

    def __init__(self, plan: Plan, cluster: Cluster, jobs: int | None = None, resubmissions: int = 10) -> None:
        self._plan, self._cluster, self._most = plan, cluster, resubmissions
        self._gone: dict[str, float] = {}
        self._answers = True
        self._notices: list[str] = []
        self.at_once = jobs
        self.seconds = cluster.seconds
        self.elsewhere = True
        self.when_left = "the jobs go on: --cancel ends them, and the same command watches them again"

    def start(self, run: Run) -> None:
        """Submit a run, unless its job of an earlier command has not been seen to end.

        Raises:
            UsageError: the cluster refuses it, or nobody knows whether it has a job.
            CancelledError: ``--cancel`` was called.
        """
        self._check_cancelled()
        folder = self._plan.folder(run)
        attempt = self._attempt(run)
        if attempt and not attempt.over and not (folder / records.FAILURE).is_file():
            self._notices.append(f"{run.name}: found as {_called(attempt)}")
        else:
            self._submit(run, 0)

    def ended(self, runs: Sequence[Run]) -> list[Run]:
        """Those with a result or a failure of their own, and those that were resubmitted often enough.

        Raises:
            CancelledError: ``--cancel`` was called.
        """
        self._check_cancelled()
        asked = time.time()
        attempts = {run: self._attempt(run) for run in runs}
        states = self._cluster.states([one.name for one in attempts.values() if one])
        if self._answers and states is None:
            self._notices.append("the cluster does not answer; its jobs go on, and it is asked again")
        self._answers = states is not None
        return [run for run, attempt in attempts.items() if self._is_over(run, attempt, states, asked)]

    def notices(self) -> list[str]:
        """What was found, submitted again or refused."""
        lines, self._notices = self._notices, []
        return lines

    def leave(self, runs: Sequence[Run]) -> None:
        """Their jobs go on."""

    def _check_cancelled(self) -> None:
        if (self._plan.output / CANCELLED).exists():
            raise CancelledError("the same command goes on from the last checkpoints")

    def _attempt(self, run: Run) -> Attempt | None:
        """The last one at a run; None before the first one.

        Raises:
            UsageError: its file is damaged, and nobody knows whether the run has a job.
        """
        path = self._plan.folder(run) / ATTEMPT
        attempt = read_attempt(path.parent)
        if attempt is None and path.exists():
            raise UsageError(f"{path} is damaged: look for the run's job with squeue, cancel it, and delete the file")
        return attempt

    def _submit(self, run: Run, resubmissions: int) -> None:
        """Submit a run.

        Raises:
            UsageError: it was refused. Its attempt stays without a number, so that one which was made is found.
        """
        folder = self._plan.folder(run).absolute()
        (folder / records.FAILURE).unlink(missing_ok=True)
        before = records.read_json(folder / records.PROGRESS) or {}
        how_far = {name: before[name] for name in ("iteration", "total") if name in before}
        records.write_progress(folder, "queued", **how_far)
        attempt = write_attempt(folder, new_attempt(run.name, resubmissions))
        job = self._cluster.submit(folder, attempt.name, self._plan.imports)
        write_attempt(folder, replace(attempt, id=job, submitted=time.time()))

    def _is_over(self, run: Run, attempt: Attempt | None, states: Mapping[str, JobState] | None, asked: float) -> bool:
        folder = self._plan.folder(run)
        if records.read_result(folder) or (folder / records.FAILURE).is_file():
            if attempt:
                write_attempt(folder, replace(attempt, over=True))
            return True
        if states is None or attempt is None:
            return False
        seen = states.get(attempt.name)
        if seen and (seen.id, seen.state) != (attempt.id, attempt.state):
            attempt = write_attempt(folder, replace(attempt, id=seen.id, state=seen.state))
        if seen is None:
            attempt = replace(attempt, state="")  # how it ended nobody knows
        if (seen and seen.alive) or asked <= attempt.submitted or not self._is_gone(attempt):
            return False
        return self._again(run, attempt)

    def _is_gone(self, attempt: Attempt) -> bool:
        """Whether no answer, and no file of another machine, can be on its way any more."""
        if not attempt.id:
            return time.time() - attempt.submitted > _SECONDS_FOR_AN_ANSWER
        since = self._gone.setdefault(attempt.name, time.monotonic())
        by_itself = attempt.state in ("COMPLETED", "FAILED", "")
        return not by_itself or time.monotonic() - since > _SECONDS_FOR_FILES

    def _again(self, run: Run, attempt: Attempt) -> bool:
        """Submit a run whose job is gone once more; True if it had its share."""
        ended = f"{_called(attempt)} ended without a result"
        if attempt.state == "OUT_OF_MEMORY":
            return self._give_up(run, attempt, f"{ended}, out of memory: give it more with --slurm mem=...")
        if attempt.id and attempt.resubmissions >= self._most:
            went = f"after {self._most} resubmission{'s' * (self._most != 1)}"
            return self._give_up(run, attempt, f"{ended} {went}: the same command goes on, --resubmit N allows more")
        number = attempt.resubmissions + bool(attempt.id)
        try:
            self._submit(run, number)
        except UsageError as error:
            self._notices.append(f"{run.name}: not submitted, and tried again: {error}")
            return False
        job = read_attempt(self._plan.folder(run)).id
        self._notices.append(f"{run.name}: {ended}; submitted again as job {job} ({number} of at most {self._most})")
        return False

    def _give_up(self, run: Run, attempt: Attempt, error: str) -> bool:
        folder = self._plan.folder(run)
        log = log_of(folder, attempt)
        if not log.is_file():
            error += f" (it left no log: do the nodes see {self._plan.output.absolute()}?)"
        write_attempt(folder, replace(attempt, over=True))
        records.write_json(folder / records.FAILURE, {"error": error, "log": str(log)})
        return True


def _called(attempt: Attempt) -> str:
    state = f" ({attempt.state})" * bool(attempt.state)
    return f"job {attempt.id}{state}" if attempt.id else f"job {attempt.name}, of which no number is known,"
