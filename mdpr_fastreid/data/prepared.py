"""Whether a data set or pretrained weights are on this machine, and whole."""

import logging
import os
import re
from pathlib import Path
from typing import NamedTuple

from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data.datasets.counts import Count
from mdpr_fastreid.data.listing import missing_files
from mdpr_fastreid.data.sources import DataSource, WeightSource
from mdpr_fastreid.data.synth import PRESETS, RenderError, read_manifest, set_folder, verify
from mdpr_fastreid.data.tracklets import files_of
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import read_weights, sha256_of


class State(NamedTuple):
    """What was found.

    Args:
        place: where the thing belongs, or lies.
        word: ``complete``, ``missing``, ``incomplete``, ``damaged`` or, where no hash is published, ``unverified``.
        details: lines with numbers.
    """

    place: Path
    word: str
    details: list[str]


def data_state(source: DataSource, root: Path) -> State:
    """Look for a data set under the data root and count its images against the published numbers.

    Every image that a list names has to exist; ``mdpr data`` decodes them, too.
    """
    if source.preset:
        return _rendered_state(source, root)
    dataset = DATASET_REGISTRY.get(source.name)
    folders = source.folders or dataset.folders
    there = [name for name in folders if os.path.isdir(root / name)]
    place = root / (there or folders)[0]
    if not there:
        others = f"or, in the same place, {', '.join(folders[1:])}" if len(folders) > 1 else ""
        return State(place, "missing", [others] if others else [])
    logging.disable(logging.WARNING)  # the counts that a set warns of are reported here in full
    try:
        items = dataset(root=str(root))
    except (UsageError, RuntimeError, OSError) as error:
        return State(place, "incomplete", [str(error).splitlines()[0]])
    finally:
        logging.disable(logging.NOTSET)
    published = published_counts(source)
    details, whole = [], True
    for split in ("train", "query", "gallery"):
        found, expected = getattr(items, split), published.get(split, Count(0, 0))
        gone, counted = missing_files(files_of(found)), expected.of(found)
        if gone:
            details.append(f"{split}: {len(gone):,} images are missing, the first one {gone[0]}")
        if counted != expected:
            details.append(f"{split}: {counted} here, {expected} as published")
        elif expected.images:
            details.append(f"{split}: {counted}, as published")
        whole &= not gone and counted == expected
    return State(place, "complete" if whole else "incomplete", details)


def published_counts(source: DataSource) -> dict[str, Count]:
    """The published counts of a set's splits; a split that it has not is not in them."""
    return source.published or DATASET_REGISTRY.get(source.name).published


def _rendered_state(source: DataSource, root: Path) -> State:
    folder = set_folder(root, PRESETS[source.preset].name)
    if not os.path.isdir(folder):
        return State(folder, "missing", [])
    try:
        splits = read_manifest(folder)["splits"]
    except RenderError as error:
        return State(folder, "damaged", [str(error)])
    details, whole = [], True
    for split, entry in splits.items():
        images = sum(1 for _ in (folder / split).rglob("*.jpg"))
        whole &= images == entry["images"]
        details.append(f"{split}: {images:,} images of {entry['images']:,}")
    if not whole:
        return State(folder, "incomplete", details)
    try:
        verify(folder)
    except RenderError as error:
        return State(folder, "damaged", [*details, str(error)])
    return State(folder, "complete", [*details, "every file has the hash that it was rendered with"])


def weights_folder() -> Path:
    """Where FastReID looks for, and puts, pretrained ResNets: ``checkpoints`` under ``TORCH_HOME``."""
    cache = os.getenv("XDG_CACHE_HOME", "~/.cache")
    return Path(os.path.expanduser(os.getenv("TORCH_HOME", os.path.join(cache, "torch")))) / "checkpoints"


def sha256_prefix(name: str) -> str:
    """The beginning of the SHA-256 that a file's name carries, as PyTorch's do; "" if it carries none."""
    found = re.search(r"-([0-9a-f]{8,})\.", name)
    return found[1] if found else ""


def weights_state(source: WeightSource) -> State:
    """Look for a file of weights and compare it with the hash in its name; without one, see whether it can be read."""
    path = weights_folder() / source.file
    if not os.path.isfile(path):
        return State(path, "missing", [])
    prefix = sha256_prefix(source.file)
    try:
        digest = sha256_of(path)
    except UsageError as error:
        return State(path, "damaged", [str(error)])
    details = [f"{path.stat().st_size:,} bytes", f"SHA-256 {digest}"]
    if prefix:
        same = digest.startswith(prefix)
        details.append(f"its name says {prefix}...: {'the same' if same else 'another file, or a part of it'}")
        return State(path, "complete" if same else "damaged", details)
    try:
        tensors, _ = read_weights(path)
    except UsageError as error:
        return State(path, "damaged", [*details, str(error)])
    return State(path, "unverified", [*details, f"{len(tensors)} tensors; no hash is published to compare with"])
