"""Slurm: jobs are submitted through submitit, and found again and cancelled by their names."""

import contextlib
import difflib
import importlib.util
import io
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mdpr_fastreid.compare.launchers.attempts import FOLDER
from mdpr_fastreid.compare.launchers.submitted import JobState
from mdpr_fastreid.compare.launchers.work import work
from mdpr_fastreid.errors import UsageError, shown

KEYS = (
    *("account", "begin", "comment", "constraint", "cpus-per-gpu", "cpus-per-task", "exclude", "exclusive", "gpus"),
    *("gpus-per-node", "gres", "licenses", "mail-type", "mail-user", "mem", "mem-per-cpu", "mem-per-gpu", "nice"),
    *("nodelist", "partition", "qos", "reservation", "time", "tmp", "wckey"),
)
"""What ``--slurm`` takes: options of sbatch about where a job runs and what it gets."""

# Every other state is one from which a job may still run
_ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
)
_SECONDS_TO_ANSWER = 60
# A process has as many threads as its job has cores, not as the node has
_THREADS = 'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$SLURM_CPUS_ON_NODE}"'


def read_options(texts: Sequence[str]) -> dict[str, str]:
    """What ``--slurm partition=gpu,gpus=1`` asks for; a comma before a word without ``=`` belongs to the value.

    Raises:
        UsageError: a key that it does not take, one without a value, or one that is there twice.
    """
    options: dict[str, str] = {}
    for text in texts:
        last = ""
        for piece in text.split(","):
            key, equals, value = (part.strip() for part in piece.partition("="))
            if not equals and last:
                options[last] += f",{key}"
                continue
            key = key.replace("_", "-")
            if key not in KEYS:
                nearest = difflib.get_close_matches(key, KEYS, n=1)
                hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(KEYS)}"
                raise UsageError(f"--slurm {shown(piece)}: {hint}")
            if not value:
                raise UsageError(f"--slurm {shown(text)}: {key} has no value; write --slurm partition=gpu,time=4:00:00")
            if key in options:
                raise UsageError(f"--slurm names {key} twice: take one of them out")
            options[key], last = value, key
    return options


class Slurm:
    """The cluster that this machine submits to.

    Args:
        options: of sbatch, as :func:`read_options` gives them.
    """

    seconds = 10.0

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self._options = dict(options or {})

    def check(self) -> None:
        """Find out whether a job could be submitted, without submitting one.

        Raises:
            UsageError: what is missing or refused.
        """
        if importlib.util.find_spec("submitit") is None:
            raise UsageError("--launcher slurm needs submitit: pip install 'mdpr-fastreid[slurm]'")
        missing = [name for name in ("sbatch", "srun", "squeue", "scancel", "sinfo") if shutil.which(name) is None]
        if missing:
            raise UsageError(
                f"no Slurm here: {', '.join(missing)} not found; start it on a machine that submits jobs, or take "
                "--launcher local"
            )
        partitions = {line.strip() for line in _ask("sinfo", "--noheader", "--format=%R").splitlines()}
        unknown = set(self._options.get("partition", "").split(",")) - partitions - {""}
        if unknown:
            raise UsageError(
                f"--slurm partition={self._options['partition']}: there is no partition {', '.join(sorted(unknown))}; "
                f"there are {', '.join(sorted(partitions))}"
            )
        given = [f"--{key}={value}" for key, value in self._options.items()]
        try:
            _ask("sbatch", "--test-only", "--output=/dev/null", *given, "--wrap=true")
        except UsageError as error:
            asked = ",".join(f"{key}={value}" for key, value in self._options.items())
            raise UsageError(f"--slurm {asked}: {error}") from error

    def submit(self, folder: Path, name: str, imports: Sequence[str]) -> str:
        """Submit the run of a folder, and give the job's number back.

        Raises:
            UsageError: Slurm refused it.
        """
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        executor = submitit.SlurmExecutor(folder=folder / FOLDER)
        executor.update_parameters(
            job_name=name,
            time=None,  # the partition's, unless --slurm has one
            wckey=None,
            stderr_to_stdout=True,
            use_srun=False,  # a run is one process
            setup=[_THREADS],
            additional_parameters=self._options,
        )
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # it prints what it raises
                return executor.submit(work, str(folder), name, tuple(imports)).job_id
        except (FailedJobError, FailedSubmissionError) as error:
            raise UsageError(_in_a_line(str(error))) from error
        except OSError as error:
            raise UsageError(f"{folder / FOLDER} cannot be written: {error.strerror or error}") from error

    def states(self, names: Collection[str]) -> Mapping[str, JobState] | None:
        """Of the jobs that it still knows: Slurm forgets one some minutes after its end."""
        if not names:
            return {}
        words = ("--noheader", "--states=all", "--format=%i|%j|%T|%r", f"--name={','.join(names)}")
        try:
            lines = _ask("squeue", *words).splitlines()
        except UsageError:
            return None
        found = {}
        for number, name, state, reason in (line.strip().split("|", 3) for line in lines):
            if name not in found or not found[name].alive:
                why = reason if state == "PENDING" and reason != "None" else ""
                found[name] = JobState(number, state, state not in _ENDED, why)
        return found

    def cancel(self, names: Collection[str]) -> None:
        """End the jobs of these names.

        Raises:
            UsageError: Slurm cannot be asked.
        """
        alive = [job.id for job in (self.states(names) or {}).values() if job.alive]
        if alive:
            _ask("scancel", *alive)  # by name it takes one alone


def _ask(*words: str) -> str:
    """What a program of Slurm's prints.

    Raises:
        UsageError: it failed; with its words.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_SECONDS_TO_ANSWER)
    except FileNotFoundError as error:
        raise UsageError(f"no Slurm here: {words[0]} not found") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{words[0]} does not answer: {_in_a_line(str(error))}") from error
    if done.returncode:
        raise UsageError(f"{words[0]} says: {_in_a_line(done.stderr) or f'exit code {done.returncode}'}")
    return done.stdout


def _in_a_line(said: str) -> str:
    lines = (line.strip() for line in said.splitlines())
    return "; ".join(line for line in lines if line and not line.startswith("Try "))
