"""The file in a run's folder that says as which job of a cluster it was submitted.

It is written before the submission, with a name that no other job has, and once more with the number that the
scheduler gave. Whoever is killed between the two finds the job by its name.
"""

import os
import re
import secrets
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mdpr_fastreid.compare.records import read_json, write_json

ATTEMPT = "job.json"
FOLDER = "jobs"
"""Scripts, arguments and logs of a run's jobs, as submitit names them."""


@dataclass(frozen=True)
class Attempt:
    """One submission of a run."""

    name: str
    """Of the job; unique."""
    id: str = ""
    """The scheduler's; empty until it has answered."""
    resubmissions: int = 0
    """Jobs of this run that ended without a result before this one."""
    submitted: float = 0.0
    """``time.time`` of the submission."""
    state: str = ""
    """As the scheduler said last."""
    over: bool = False
    """Whether nobody waits for it any more."""


def new_attempt(run_name: str, resubmissions: int = 0) -> Attempt:
    """An attempt at the run ``method/seed0`` under a new name."""
    words = re.sub(r"[^A-Za-z0-9.-]+", "-", run_name).strip("-")
    return Attempt(f"mdpr-{words}-{secrets.token_hex(4)}", resubmissions=resubmissions, submitted=time.time())


def read_attempt(folder: Path) -> Attempt | None:
    """The last attempt at the run of a folder; None if there was none, or its file is damaged."""
    content = read_json(folder / ATTEMPT)
    known = {field.name: field.type for field in fields(Attempt)}
    if content is None or "name" not in content or not content.keys() <= known.keys():
        return None
    fitting = all(isinstance(value, known[name]) for name, value in content.items())
    return Attempt(**content) if fitting else None


def write_attempt(folder: Path, attempt: Attempt) -> Attempt:
    """Write the attempt whole, and give it back."""
    write_json(folder / ATTEMPT, asdict(attempt))
    return attempt


def log_of(folder: Path, attempt: Attempt) -> Path:
    """Where a job's output goes."""
    return folder / FOLDER / f"{attempt.id or '%j'}_0_log.out"


def claim(folder: Path, name: str, job: str) -> str:
    """Have one job alone work at an attempt, should it have been submitted twice.

    Args:
        folder: of the run.
        name: of the job.
        job: its number.

    Returns:
        Why it is not this job's; empty if it is. A job that the scheduler starts once more keeps its attempt.
    """
    attempt = read_attempt(folder)
    if attempt is None or attempt.name != name or attempt.over:
        return "the comparison has given this job up"
    path = folder / FOLDER / f"{name}.claim"
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY), "w") as file:
            file.write(job)
    except FileExistsError:
        holder = path.read_text()
        return "" if holder == job else f"job {holder} is at work on it"
    return ""
