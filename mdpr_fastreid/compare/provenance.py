"""Where numbers come from: machine, versions, commit, date."""

import datetime
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

import mdpr_fastreid
from mdpr_fastreid.bench.report import describe_machine


def environment() -> dict[str, object]:
    """Machine and versions, the plugin's version and commit, the time, and what speeds depend on.

    ``threads`` is what torch computes with, ``load`` the machine's load average of the last minute: above the number
    of cores, something else was slowing it down.
    """
    return {
        **describe_machine(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "mdpr_fastreid": mdpr_fastreid.__version__,
        "commit": commit(),
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def machine_of(results: Iterable[Mapping]) -> str:
    """One line on where runs were made: machine and versions, and, as far as they differ, every commit and date.

    Args:
        results: of finished runs, each with the :func:`environment` of its process.
    """
    environments = [result["environment"] for result in results]
    facts = []
    for name in dict.fromkeys(name for one in environments for name in one):
        values = [one[name] for one in environments if one.get(name) is not None]
        if name == "date":
            values = [value.partition("T")[0] for value in values]
        if name in ("date", "load") and len(set(values)) > 1:
            values = [f"{min(values)} to {max(values)}"]
        if values:
            facts.append(f"{name} {' / '.join(map(str, dict.fromkeys(values)))}")
    return ", ".join(facts) or "no run is finished"


def without_home(text: str) -> str:
    """A command or message with ``~/`` for the home folder, whose name is no colleague's business.

    Only at the start of a word, where a shell takes it for what it stands for.
    """
    return re.sub(rf"(?<!\S){re.escape(str(Path.home()))}/", "~/", text)


def commit(folder: Path = Path(mdpr_fastreid.__file__).parent) -> str:
    """The git commit of the checkout that holds ``folder``, and whether files were changed since.

    A new file counts where runs may have read it: in ``folder``, ``configs`` and ``projects``.

    Returns:
        ``abc1234``, ``abc1234 and uncommitted changes``, or "unknown" outside a checkout (an installed wheel).
    """
    if not (folder.parent / ".git").exists():
        return "unknown"
    described = _git(folder, "rev-parse", "--short", "HEAD")
    if not described:
        return "unknown"
    changes = _git(folder, "status", "--porcelain").splitlines()
    read = tuple(f"?? {name}/" for name in (folder.name, "configs", "projects"))
    dirty = any(not line.startswith("??") or line.startswith(read) for line in changes)
    return f"{described} and uncommitted changes" if dirty else described


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
