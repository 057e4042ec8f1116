"""Clusters for tests: one that is made up, and this machine through submitit's local executor."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from mdpr_fastreid.compare.launchers.attempts import FOLDER
from mdpr_fastreid.compare.launchers.submitted import JobState
from mdpr_fastreid.errors import UsageError


class MadeUpCluster:
    """Jobs are entries of a dict, whose states a test sets; every submission is in ``submitted``."""

    seconds = 0.01

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.jobs: dict[str, JobState] = {}
        self.answers = True
        self.refuses = False

    def submit(self, folder, name, imports) -> str:
        """Accept a job, which waits from then on."""
        if self.refuses:
            raise UsageError("sbatch says: the queue is full")
        self.submitted.append(f"{folder.parent.name}/{folder.name}")
        self.jobs[name] = JobState(str(len(self.submitted)), "PENDING", True, "Resources")
        return str(len(self.submitted))

    def states(self, names):
        """Of the jobs that are there; None when ``answers`` is False."""
        return {name: self.jobs[name] for name in names if name in self.jobs} if self.answers else None

    def cancel(self, names) -> None:
        """End jobs."""
        for name in names:
            self.set(name, "CANCELLED", alive=False)

    def set(self, name: str, state: str, alive: bool) -> None:
        """Have a job be in a state."""
        self.jobs[name] = JobState(self.jobs[name].id, state, alive)


class LocalCluster:
    """This machine: jobs are processes of submitit's local executor, which go on when the comparison ends.

    Args:
        book: a file with the process of every job, by which another instance finds them.
        work: what a job does, called with folder, name and imports.
    """

    seconds = 0.1

    def __init__(self, book: Path, work: Callable) -> None:
        self._book, self._work = book, work
        self._jobs: dict = {}  # whoever started a process has to ask for its end

    def submit(self, folder, name, imports) -> str:
        """Start a job."""
        import submitit

        executor = submitit.LocalExecutor(folder=folder / FOLDER)
        executor.update_parameters(timeout_min=10, stderr_to_stdout=True)
        job = executor.submit(self._work, str(folder), name, tuple(imports))
        self._jobs[name] = job
        self._book.write_text(json.dumps({**self._known(), name: job.job_id}))
        return job.job_id

    def states(self, names):
        """Of the jobs in the book."""
        for job in self._jobs.values():
            job.done()
        known = self._known()
        found = {name: (known[name], _is_alive(int(known[name]))) for name in names if name in known}
        return {name: JobState(pid, "RUNNING" if alive else "FAILED", alive) for name, (pid, alive) in found.items()}

    def cancel(self, names) -> None:
        """End jobs, with what they have started."""
        for name in names:
            if _is_alive(int(self._known()[name])):
                os.kill(int(self._known()[name]), 15)

    def _known(self) -> dict[str, str]:
        return json.loads(self._book.read_text()) if self._book.is_file() else {}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
