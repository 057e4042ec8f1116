"""What every benchmark writes: its rows as JSON and as a Markdown table, with machine, versions, command and date."""

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import need_place, write_whole
from mdpr_fastreid.processor import computes

_PACKAGES = ("torch", "timm", "numpy", "faiss-cpu", "fastreid")


def describe_machine() -> dict[str, str | int | None]:
    """Processor, cores, memory, GPU and versions of what computes."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "instructions": f"{torch.backends.cpu.get_cpu_capability()}, bfloat16 "
        + ("native" if computes(torch.bfloat16, "cpu") else "emulated"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory_gib(), 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **versions,
    }


def memory_gib() -> float:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def add_run(
    name: str, rows: Sequence[Mapping], columns: Mapping[str, Callable], folder: Path, about: Mapping | None = None
) -> str:
    """Add a run to ``<name>.json`` and ``<name>.md`` in ``folder``, beside those that are there, and return its table.

    Args:
        name: what the files are called.
        rows: measurements of this run, one mapping each.
        columns: heading of each column of the table, and what makes its cell of a row.
        folder: made if missing.
        about: what the rows have in common, by name; it is named before the machine.

    Raises:
        UsageError: the file that is there is none of ours.
    """
    path = folder / f"{name}.json"
    runs = read_runs(path)
    command = shlex.join(["mdpr", *sys.argv[1:]])
    runs.append(
        {
            "date": datetime.date.today().isoformat(),
            "command": command,
            "about": dict(about or {}),
            "machine": describe_machine(),
            "rows": list(rows),
        }
    )
    write_whole(path, (json.dumps({"runs": runs}, indent=1) + "\n").encode())
    tables = [_table(run, columns) for run in runs]
    heading = f"# {name.replace('_', ' ').capitalize()}, a table for each run\n"
    write_whole(folder / f"{name}.md", "\n".join([heading, *tables]).encode())
    return tables[-1]


def need_places(name: str, folder: Path) -> None:
    """Refuse a folder that :func:`add_run` cannot write to, before the measurement.

    Args:
        name: as of :func:`add_run`.
        folder: made if missing.

    Raises:
        UsageError: the files cannot be written, or are none of ours.
    """
    path, page = folder / f"{name}.json", folder / f"{name}.md"
    for file in (path, page):
        need_place(file)
    runs = read_runs(path)
    if page.exists() and not runs:
        raise UsageError(f"{page} belongs to no {path.name}: move it away, or name another --output")


def read_runs(path: Path) -> list[dict]:
    """The runs that :func:`add_run` has written there so far; none without a file.

    Raises:
        UsageError: the file is none of ours.
    """
    try:
        runs = json.loads(path.read_text())["runs"] if path.exists() else []
        sound = isinstance(runs, list) and all(
            run.keys() >= {"date", "command", "machine", "rows"} and {*map(type, run["rows"])} <= {dict} for run in runs
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise UsageError(f"{path} is not a file of runs: move it away, or name another --output")
    return runs


def _table(run: Mapping, columns: Mapping[str, Callable]) -> str:
    lines = [
        "| " + " | ".join(columns) + " |",
        "| " + " | ".join("---" for _ in columns) + " |",
        *("| " + " | ".join(str(cell(row)) for cell in columns.values()) + " |" for row in run["rows"]),
        "",
        f"`{run['command']}`, {run['date']}, "
        + "".join(f"{key} {value}, " for key, value in run.get("about", {}).items() if value)
        + "on "
        + ", ".join(f"{key} {value}" for key, value in run["machine"].items() if value)
        + ".",
    ]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor()
    return platform.processor() or platform.machine()
