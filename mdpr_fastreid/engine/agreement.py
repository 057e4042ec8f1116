"""Do all processes of a run train the same thing? Code, settings and data are compared before the first step."""

import hashlib
import logging
import secrets
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import fastreid
import torch
import torch.distributed as dist
from fastreid.config import CfgNode
from fastreid.utils import comm

import mdpr_fastreid
from mdpr_fastreid.errors import UsageError

# What a machine may have of its own
_OWN_KEYS = {"OUTPUT_DIR", "DATALOADER.NUM_WORKERS", "DATALOADER.CACHE"}
# As long as a network file system may take to show a new file
_SECONDS_TO_APPEAR = 30.0


def check_agreement(cfg: CfgNode, training_items: Iterable[tuple]) -> None:
    """Compare this process with all others; nothing in a run of one process.

    Args:
        cfg: the run's config, as it is trained with.
        training_items: paths, identities and cameras in the order that the sampler draws from.

    Raises:
        UsageError: in every process, naming the first thing that differs, and where.
    """
    if comm.get_world_size() == 1:
        return
    facts = {
        "the code of mdpr_fastreid": code_hash(Path(mdpr_fastreid.__file__).parent),
        "the code of fastreid": code_hash(Path(fastreid.__file__).parent),
        "the version of torch": torch.__version__,
        **{key: value for key, value in _settings(cfg).items() if key not in _OWN_KEYS},
        "the training images (DATASETS.NAMES)": items_hash(training_items),
    }
    mine = (socket.gethostname(), facts)
    all_facts: list[tuple[str, dict[str, str]]] = [mine] * comm.get_world_size()
    dist.all_gather_object(all_facts, mine)
    difference = first_difference(all_facts)
    if difference:
        raise UsageError(difference)


def first_difference(all_facts: list[tuple[str, Mapping[str, str]]]) -> str:
    """What the processes do not agree on, in one line, or "".

    Args:
        all_facts: the machine and the facts of each process.
    """
    first_host, first = all_facts[0]
    for rank, (host, facts) in enumerate(all_facts):
        for name in first | facts:
            one, other = first.get(name, "missing"), facts.get(name, "missing")
            if one != other:
                return (
                    f"the processes of this run do not agree: {name} is {one} in process 0, on {first_host}, and "
                    f"{other} in process {rank}, on {host}; let all machines have the same code, config and data"
                )
    return ""


def code_hash(package: Path) -> str:
    """SHA-256, its first 12 digits, of a package's Python files, with their names."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def items_hash(items: Iterable[tuple]) -> str:
    """How many items there are, and a hash of names, identities and cameras in their order; folders do not count."""
    digest, count = hashlib.sha256(), 0
    for path, identity, camera, *_ in items:
        digest.update(f"{Path(path).name}\t{identity}\t{camera}\n".encode())
        count += 1
    return f"{count} images of hash {digest.hexdigest()[:12]}"


def _settings(cfg: CfgNode, prefix: str = "") -> dict[str, str]:
    """The values by their full keys, as text."""
    values: dict[str, str] = {}
    for name, value in cfg.items():
        values |= _settings(value, f"{prefix}{name}.") if isinstance(value, CfgNode) else {prefix + name: repr(value)}
    return values


def check_shared_folder(folder: str, *, needed: bool) -> None:
    """See whether ``OUTPUT_DIR`` is one folder to all processes; nothing in a run of one process.

    Args:
        folder: ``OUTPUT_DIR``.
        needed: whether the run will read checkpoints that the first process wrote; otherwise a warning is enough.

    Raises:
        UsageError: in every process; it names the machines that have a folder of their own.
    """
    if comm.get_world_size() == 1:
        return
    token = [f".shared-{secrets.token_hex(8)}" if comm.is_main_process() else ""]
    dist.broadcast_object_list(token, 0)
    file = Path(folder, token[0])
    if comm.is_main_process():
        file.touch()
    comm.synchronize()
    sees = _appears(file)
    answers: list[tuple[str, bool]] = [("", False)] * comm.get_world_size()
    dist.all_gather_object(answers, (socket.gethostname(), sees))
    if comm.is_main_process():
        file.unlink(missing_ok=True)
    apart = list(dict.fromkeys(host for host, seen in answers if not seen))
    if not apart:
        return
    message = (
        f"OUTPUT_DIR {folder} is not the same folder on {answers[0][0]} and on {', '.join(apart)}: checkpoints are "
        f"written on {answers[0][0]} alone, and every machine reads them to resume; name a folder that all share"
    )
    if needed:
        raise UsageError(message)
    if comm.is_main_process():
        logging.getLogger("fastreid").warning(message)


def _appears(file: Path) -> bool:
    """Whether a file of another process is, or comes, there."""
    end = time.monotonic() + _SECONDS_TO_APPEAR
    while True:
        # Listing the folder makes a network file system ask its server
        if file.parent.is_dir() and file.name in {path.name for path in file.parent.iterdir()}:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
