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
from mdpr_fastreid.weights.integrity import sha256_of

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
# Arrays of a ranking: with a row for every query, and for every image that is in a list
_OF_QUERIES = ("query", "gallery", "distance", "correct", "average_precision")
_OF_IMAGES = ("used", "paths", "identities", "cameras")
_FILES = "files"
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
    """What decides a run's outcome, by dotted key, as it is in a file.

    Of files that settings name, such as pretrained weights, it has the SHA-256, too, under ``files``.
    """
    settings = {key: value for key, value in flat(cfg).items() if key not in _NO_CONDITION}
    files = {key: digests for key, value in settings.items() if (digests := _digests(value))}
    return json.loads(json.dumps({**settings, "data": data_digest, _FILES: files}, default=str))


def _digests(value: object) -> list[str]:
    """SHA-256 of the file or of all the files that a setting names; empty for any other setting."""
    paths = [Path(one) for one in (value if isinstance(value, list) else [value]) if isinstance(one, str) and one]
    if not paths or not all(map(os.path.isfile, paths)):
        return []
    return [_digest(path, path.stat().st_mtime_ns) for path in paths]


@functools.cache
def _digest(path: Path, modified: int) -> str:
    return sha256_of(path)


def config_digest(conditions: Mapping[str, object]) -> str:
    """12 hex digits that name the conditions of a run."""
    return hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:12]


def changed(folder: Path, now: Mapping[str, object]) -> list[str]:
    """In what a run on disk differs from what is asked for, as lines ``KEY before -> now``.

    A key that the toolbox or the plugin has got since counts only if it is not at its default. A file that was moved
    is the same file, and one that was replaced is another.

    Args:
        folder: of the run; where nothing was trained yet, nothing differs.
        now: :func:`conditions` of what is asked for.
    """
    before = read_json(folder / CONDITIONS)
    if before is None:
        begun = (folder / RESULT).is_file() or (folder / CHECKPOINT).is_file()
        return [f"{CONDITIONS} is missing or damaged"] if begun else []
    defaults = _default_conditions()
    files_before, files_now = before.get(_FILES, {}), now.get(_FILES, {})
    lines = []
    for key, new in now.items():
        if key == _FILES:
            continue
        known = key in files_before and key in files_now
        old = before.get(key, defaults.get(key))
        if known and files_before[key] != files_now[key]:
            lines.append(f"{key} {old} -> {new}, a file of other content")
        elif not known and old != new:
            lines.append(f"{key} {old} -> {new}")
    return lines


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


def read_ranking(folder: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a run's :data:`RANKING`; None if it is gone or damaged, or its arrays do not fit together."""
    try:
        with np.load(folder / RANKING) as file:
            arrays = {name: file[name] for name in file.files}
        lengths = [[len(arrays[name]) for name in names] for names in (_OF_QUERIES, _OF_IMAGES)]
        fitting = all(len(set(found)) == 1 for found in lengths) and np.isin(arrays["query"], arrays["used"]).all()
    except Exception:  # damaged bytes are an error of zipfile, zlib, tokenize or NumPy, each of a class of its own
        return None
    return arrays if fitting else None


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
