"""The files in the folder of a run, by which the comparison and its runs communicate."""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode, get_cfg

from mdpr_fastreid.compare.shared import flat
from mdpr_fastreid.config import add_mdpr_config
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import write_whole

SETTINGS = "settings.yml"
"""The whole config of the run."""
CONDITIONS = "conditions.json"
"""What the run was made under: its settings by dotted key, and the hash of the data."""
PROGRESS = "progress.json"
"""What it is doing, and how far it is."""
CHECKPOINT = "last_checkpoint"
"""FastReID's pointer to the checkpoint that a run goes on from."""
RESULT = "result.json"
"""What it reached; written when it is finished."""
FAILURE = "failure.json"
"""Why it failed."""
RANKING = "ranking.npz"
"""Rank lists and attention maps."""
OUTPUT = "output.txt"
"""What the process printed."""

PAGES = ("results.json", "results.csv", "table.md", "report.html")
"""What a comparison writes right into its folder."""

# What tables and plots cannot do without
_IN_A_RESULT = {"metrics", "reranked", "cmc", "feature_length", "config_hash", "environment"}
# Where things lie, how many processes read images and how often a run looks up do not change what it ends with.
_NO_CONDITION = (
    "OUTPUT_DIR",
    "MODEL.WEIGHTS",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.CACHE",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.EVAL_PERIOD",
    "TEST.EVAL_UNTRAINED",
)


def conditions(cfg: CfgNode, data_digest: str) -> dict[str, object]:
    """What decides a run's outcome, by dotted key, as it is in a file."""
    settings = {key: value for key, value in flat(cfg).items() if key not in _NO_CONDITION}
    return json.loads(json.dumps({**settings, "data": data_digest}, default=str))


def config_digest(conditions: Mapping[str, object]) -> str:
    """12 hex digits that name the conditions of a run."""
    return hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:12]


def changed(folder: Path, now: Mapping[str, object]) -> list[str]:
    """In what a run on disk differs from what is asked for, as lines ``KEY before -> now``.

    A key that the toolbox or the plugin has got since counts only if it is not at its default.

    Args:
        folder: of the run; where nothing was trained yet, nothing differs.
        now: :func:`conditions` of what is asked for.
    """
    before = read_json(folder / CONDITIONS)
    if before is None:
        begun = (folder / RESULT).is_file() or (folder / CHECKPOINT).is_file()
        return [f"{CONDITIONS} is missing or damaged"] if begun else []
    defaults = _default_conditions()
    return [
        f"{key} {before.get(key, defaults.get(key))} -> {value}"
        for key, value in now.items()
        if before.get(key, defaults.get(key)) != value
    ]


@functools.cache
def _default_conditions() -> dict[str, object]:
    cfg = get_cfg()
    add_mdpr_config(cfg)
    return conditions(cfg, "")


def listing(lines: Sequence[str], shown: int = 3) -> str:
    """The first few lines of :func:`changed`, and how many more there are."""
    more = f" and {len(lines) - shown} more" if len(lines) > shown else ""
    return "; ".join(lines[:shown]) + more


def concerns_training(line: str) -> bool:
    """Whether a line of :func:`changed` is about the training, and not about the evaluation of its weights alone."""
    return not line.startswith("TEST.") or line.startswith("TEST.PRECISE_BN.")


def make_output(folder: Path) -> None:
    """Make a comparison's folder, unless it exists.

    Raises:
        UsageError: it cannot be made, or has files of the names that are written into it, and no runs of a comparison.
    """
    foreign = [name for name in PAGES if (folder / name).exists()] if not (folder / "runs").is_dir() else []
    if foreign:
        raise UsageError(f"{folder / foreign[0]} is of no comparison, and would be replaced; choose another --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}; choose another --output") from error


def read_json(path: Path) -> dict | None:
    """The object that a JSON file holds, or None if it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):  # ValueError: no JSON, or no text at all
        return None
    return content if isinstance(content, dict) else None


def read_result(folder: Path) -> dict | None:
    """What a run reached, or None if it is not finished, or its :data:`RESULT` is damaged."""
    result = read_json(folder / RESULT)
    return result if result and result.keys() >= _IN_A_RESULT else None


def write_json(path: Path, value: object) -> None:
    """Write a JSON file whole or not at all, safe from a power cut."""
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


def write_progress(folder: Path, phase: str, **numbers: float) -> None:
    """Write what a run is doing into its folder; a reader sees the last state or this one, never half of it."""
    scratch = folder / f"{PROGRESS}.tmp"
    scratch.write_text(json.dumps({"phase": phase, **numbers}))
    with contextlib.suppress(PermissionError):  # Windows replaces no file that is being read; the next state follows
        os.replace(scratch, folder / PROGRESS)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write an ``.npz`` file whole or not at all."""
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))
