"""What every benchmark writes: its rows as JSON and as a Markdown table, with machine, versions, command and date."""

import datetime
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

_PACKAGES = ("torch", "numpy", "faiss-cpu", "fastreid")


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
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **versions,
    }


def write(name: str, rows: Sequence[Mapping], columns: Mapping[str, Callable], folder: Path) -> str:
    """Write ``<name>.json`` and ``<name>.md`` to ``folder`` and return the Markdown.

    Args:
        name: what the files are called.
        rows: measurements, one mapping each.
        columns: heading of each column of the table, and what makes its cell of a row.
        folder: made if missing.
    """
    machine = describe_machine()
    command = "mdpr " + " ".join(sys.argv[1:])
    date = datetime.date.today().isoformat()
    result = {"date": date, "command": command, "machine": machine, "rows": list(rows)}
    lines = [
        "| " + " | ".join(columns) + " |",
        "| " + " | ".join("---" for _ in columns) + " |",
        *("| " + " | ".join(str(cell(row)) for cell in columns.values()) + " |" for row in rows),
        "",
        f"`{command}`, {date}, on " + ", ".join(f"{key} {value}" for key, value in machine.items() if value) + ".",
    ]
    table = "\n".join(lines) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / f"{name}.md").write_text(table)
    return table


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor()
    return platform.processor() or platform.machine()
