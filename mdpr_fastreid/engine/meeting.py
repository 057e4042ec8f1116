"""Where the processes of several machines meet: the address that ``--dist-url`` names."""

import contextlib
import datetime
import logging
import socket
from urllib.parse import urlsplit

import torch.distributed as dist

from mdpr_fastreid.errors import UsageError, one_line

_SECONDS_TO_MEET = 600.0
_THIS_MACHINE = "127.0.0.1"


def meet(
    backend: str, address: str, rank: int, size: int, *, served: bool = False, seconds: float = _SECONDS_TO_MEET
) -> None:
    """Make the process group of a run whose processes know an address.

    Args:
        backend: "gloo" or "nccl".
        address: ``tcp://host:port`` of the first process, which listens there, or another address of PyTorch's.
        rank: of this process.
        size: how many processes there are on all machines.
        served: whether a process outside of the group listens there, see :func:`serve`, and not the first one.
        seconds: to wait for the others.

    Raises:
        UsageError: the address is none, another program has the port, or the others did not come.
    """
    parts = urlsplit(address)
    if parts.scheme != "tcp":
        dist.init_process_group(backend, address, world_size=size, rank=rank)
        return
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise UsageError(f"--dist-url {address} is no address: give tcp://HOST:PORT of the first machine")
    if rank == 0 and not served and not _is_of_this_machine(host):
        logging.getLogger("fastreid").warning(
            f"--dist-url {address}: this machine, of --machine-rank 0, does not have this address. Unless what arrives "
            "there is forwarded to it, nobody will reach it: name its own address, on all machines"
        )
    wait = datetime.timedelta(seconds=seconds)
    try:
        store = dist.TCPStore(host, port, size, is_master=rank == 0 and not served, timeout=wait)
    except dist.DistError as error:
        raise UsageError(f"--dist-url {address}: {_reason(error, rank, size, seconds)}") from error
    store.set_timeout(dist.default_pg_timeout)
    dist.init_process_group(backend, store=store, world_size=size, rank=rank)


def serve() -> dist.TCPStore:
    """A place on this machine to meet, at a port that nobody else can take, as long as this object is there.

    Its address is :func:`address_of` it.
    """
    return dist.TCPStore(_THIS_MACHINE, 0, is_master=True, wait_for_workers=False)


def address_of(store: dist.TCPStore) -> str:
    """The address of a place to meet on this machine."""
    return f"tcp://{_THIS_MACHINE}:{store.port}"


def _is_of_this_machine(host: str) -> bool:
    """Whether a socket can have an address; True for a name that nobody knows, of which there is an error anyway."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError:
        return True
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as tried, contextlib.suppress(OSError):
            tried.bind(address)
            return True
    return False


def _reason(error: dist.DistError, rank: int, size: int, seconds: float) -> str:
    said = one_line(error)
    if "EADDRINUSE" in said:
        return "another program listens on this port; name another one, on all machines"
    if rank == 0:
        return (
            f"not all of the {size} processes came within {seconds:.0f} s; start the other machines, with the same "
            "--dist-url, --num-machines and --num-gpus"
        )
    return (
        f"nothing answers there for {seconds:.0f} s; start the machine of --machine-rank 0, and see that this one may "
        "reach the port"
    )
