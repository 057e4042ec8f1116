"""Machines of a network: network namespaces of this one, each with an address and a host name of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NETWORK_CARD = "card0"
PORT = 29510
OUTPUT = "output.txt"


class Machine:
    """One of them.

    Args:
        number: from 0; its address is ``10.77.0.<number + 1>``, its host name ``machine<number>``.
    """

    def __init__(self, number: int) -> None:
        self.namespace = f"reid-{os.getpid()}-{number}"
        self.address, self.name = f"10.77.0.{number + 1}", f"machine{number}"

    def start(self, words: list, folder: Path, **environment: str) -> subprocess.Popen:
        """Start Python there with these words, in a process group of its own; it prints into :data:`OUTPUT`."""
        inside = ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "--mount", "sh", "-c"]
        own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": NETWORK_CARD}
        folder.mkdir(parents=True, exist_ok=True)
        names = folder / "hosts"
        names.write_text("127.0.0.1 localhost\n" + "".join(f"{m.address} {m.name}\n" for m in map(Machine, (0, 1))))
        become = f'hostname {self.name}; mount --bind {names} /etc/hosts; exec "$0" "$@"'
        with (folder / OUTPUT).open("w") as output:
            return subprocess.Popen(
                [*inside, become, sys.executable, *map(str, words)],
                env={**_without_launcher(os.environ), **own, **environment},
                cwd=folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill all that runs there: the launcher and its processes."""
        listed = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
        for pid in listed.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def disconnect(self) -> None:
        """Pull its network cable: no packet arrives any more, and nobody is informed."""
        _run("ip", "-n", self.namespace, "link", "set", NETWORK_CARD, "down")


def _without_launcher(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


@contextlib.contextmanager
def two_machines() -> Iterator[list[Machine]]:
    """Two machines with a cable between them; skips the test where this may not be made."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("needs ip (iproute2) and unshare (util-linux)")
    machines = [Machine(0), Machine(1)]
    try:
        _run("ip", "netns", "add", machines[0].namespace)
        _run("ip", "netns", "add", machines[1].namespace)
        ends = [["name", NETWORK_CARD, "netns", machine.namespace] for machine in machines]
        _run("ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for machine in machines:
            _run("ip", "-n", machine.namespace, "address", "add", f"{machine.address}/24", "dev", NETWORK_CARD)
            for card in ("lo", NETWORK_CARD):
                _run("ip", "-n", machine.namespace, "link", "set", card, "up")
    except subprocess.CalledProcessError as error:
        _remove(machines)
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    try:
        yield machines
    finally:
        _remove(machines)


def _remove(machines: list[Machine]) -> None:
    for machine in machines:
        machine.kill()
        subprocess.run(["ip", "netns", "delete", machine.namespace], capture_output=True, check=False)


def torchrun(words: list, *, restarts: int = 0) -> list:
    """The words that start one process on each of two machines by ``torchrun``."""
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"10.77.0.1:{PORT}", "--rdzv-id", "test"]
    numbers = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", str(restarts)]
    return ["-m", "torch.distributed.run", *numbers, *rendezvous, *words]
