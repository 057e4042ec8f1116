"""A Slurm of one node, this machine, in a folder and on ports of its own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo", "scontrol")
PARTITIONS = ("tiny", "short")
"""The second ends a job after a minute."""

_CONF = """
ClusterName=small
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=2
MinJobAge={min_job_age}
InactiveLimit=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=tiny Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={host} MaxTime=1 State=UP
"""


def why_not() -> str:
    """Why a Slurm cannot be started here; empty if nothing is in the way."""
    if os.name != "posix":
        return "Slurm is for POSIX systems"
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"needs {', '.join(missing)} (Debian: slurmctld, slurmd, slurm-client, munge)"
    return "" if os.geteuid() == 0 else "slurmd starts jobs as root only"


@contextmanager
def small_slurm(folder: Path, min_job_age: int = 300) -> Iterator[Path]:
    """Start munged, slurmctld and slurmd; ``SLURM_CONF`` of this process names its configuration, which is returned.

    Args:
        folder: for everything that it writes; its path has to be short, as it holds a socket.
        min_job_age: seconds after which an ended job is forgotten.

    Raises:
        RuntimeError: it does not start; with the last lines of its logs.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    conf = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    ports = _free_ports(2)
    conf.write_text(
        _CONF.format(
            folder=folder,
            host=host,
            user="root",
            controller_port=ports[0],
            node_port=ports[1],
            cpus=os.cpu_count(),
            min_job_age=min_job_age,
        )
    )
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(conf)
    daemons: list[subprocess.Popen] = []
    try:
        daemons.append(_start(folder, "munged", "--foreground", "--force", *_munge_options(folder)))
        _wait(folder, lambda: (folder / "munge.socket").exists(), daemons)
        daemons.append(_start(folder, "slurmctld", "-D", "-f", str(conf)))
        daemons.append(_start(folder, "slurmd", "-D", "-f", str(conf), "-N", host))
        _wait(folder, lambda: _answer("sinfo", "-h", "-p", "tiny", "-o", "%t") == "idle", daemons)
        yield conf
    finally:
        _end(daemons)
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before


def _munge_options(folder: Path) -> list[str]:
    places = {"socket": "munge.socket", "key-file": "munge.key", "log-file": "munged.log"}
    places |= {"pid-file": "munged.pid", "seed-file": "munged.seed"}
    return [f"--{name}={folder / place}" for name, place in places.items()]


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def _start(folder: Path, name: str, *words: str) -> subprocess.Popen:
    ends_with_us = ["setpriv", "--pdeathsig=TERM"] if shutil.which("setpriv") else []
    with (folder / f"{name}.out").open("w") as output:
        return subprocess.Popen(
            [*ends_with_us, _program(name), *words], stdout=output, stderr=output, start_new_session=True
        )


def _wait(folder: Path, ready, daemons: list[subprocess.Popen], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline or any(one.poll() is not None for one in daemons):
            logs = [path for path in sorted(folder.iterdir()) if path.suffix in (".log", ".out")]
            said = "\n".join(f"{path.name}: {path.read_text(errors='replace')[-800:]}" for path in logs)
            raise RuntimeError(f"this Slurm does not start:\n{said}")
        time.sleep(0.1)


def _answer(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=30).stdout.strip()


def _end(daemons: list[subprocess.Popen]) -> None:
    if len(daemons) > 1:
        _answer("scancel", "--user=root")
        _wait_for_jobs()
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()


def _wait_for_jobs(seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while _answer("squeue", "-h", "-o", "%i") and time.monotonic() < deadline:
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
