"""Renders a set into a folder, so that a folder either holds the whole of it or is named ``*.partial``."""

import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from .camera import make_camera
from .canvas import PARTS
from .identity import TEST, TRAIN, Identity, look_alike_group, make_identity
from .manifest import (
    MANIFEST,
    RenderError,
    Request,
    check_files,
    check_spec,
    compare_names,
    file_digest,
    size_digest,
    split_hashes,
    verify,
)
from .plan import QUERY_FOLDER, Job, identity_number, plan
from .presets import Preset
from .shot import Picture, make_moment, shoot, walk
from .texture import garment_colours

DEFAULT_SIZE = (128, 64)
_MOST_WORKERS_ON_WINDOWS = 61
"""A pool takes no more there."""
JOURNAL = "journal.jsonl"
_HASHES, _SIZES = ("rendered", "pixels", "files"), ("sizes", "mask_sizes")
_DIGESTS = (*_HASHES, *_SIZES)
"""What the manifest has of each folder: hashes of pictures, of pixels and of bytes; sizes of images and of masks."""
PART_COLOURS = (
    (0, 0, 0),
    (120, 70, 30),
    (250, 200, 160),
    (220, 40, 40),
    (250, 140, 90),
    (40, 80, 220),
    (160, 200, 250),
    (250, 230, 40),
    (40, 180, 80),
)
"""The masks' palette: one RGB triple for each of :data:`PARTS`."""


def set_folder(root: str | os.PathLike, preset_name: str) -> Path:
    """Where a preset lies under a data root."""
    return Path(root) / f"synthreid-{preset_name}"


def identity_of(request: Request, split: int, index: int) -> Identity:
    """Identity ``index`` of a split of the set."""
    preset = request.preset
    count = preset.train_identities if split == TRAIN else preset.test_identities
    return make_identity(request.seed, split, index, count, preset.look_alikes, preset.look_alike_share)


def pictures(request: Request, job: Job) -> Iterator[tuple[str, int, Picture]]:
    """Render a job: yields name, JPEG quality and picture of each image."""
    preset, seed = request.preset, request.seed
    who = identity_of(request, job.split, job.index) if job.index >= 0 else None
    occlusion = preset.occlusion
    if job.folder == QUERY_FOLDER and preset.query_occlusion >= 0:
        occlusion = preset.query_occlusion
    cameras = {number: make_camera(seed, number, preset) for number in set(job.cameras)}
    if job.kind == "tracklet":
        camera = cameras[job.cameras[0]]
        moments = walk(make_moment(job.key, preset, camera, occlusion), len(job.names))
    else:
        moments = [
            make_moment((*job.key, k), preset, cameras[number], occlusion, job.kind == "junk")
            for k, number in enumerate(job.cameras)
        ]
    for k, (name, number, moment) in enumerate(zip(job.names, job.cameras, moments, strict=True)):
        if job.kind == "junk":
            who = identity_of(request, TEST, (job.index + k) % preset.test_identities)
        camera = cameras[number]
        yield name, camera.quality, shoot(seed, who, camera, moment, request.size)


def encode(picture: Picture, quality: int) -> tuple[bytes, bytes]:
    """A picture as JPEG of the camera's quality, and its mask as palette PNG."""
    image, mask = io.BytesIO(), io.BytesIO()
    Image.fromarray(picture.rgb).save(image, "JPEG", quality=quality, subsampling=2, optimize=False)
    palette = Image.fromarray(picture.parts)
    palette.putpalette([level for colour in PART_COLOURS for level in colour])
    palette.save(mask, "PNG", compress_level=4)
    return image.getvalue(), mask.getvalue()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _render_job(request: Request, folder: Path, job: Job) -> dict[str, str]:
    """Render and write one job; returns its digests."""
    digests = {kind: hashlib.sha256() for kind in _HASHES}
    sizes: dict[str, list[int]] = {kind: [] for kind in _SIZES}
    for name, quality, picture in pictures(request, job):
        image, mask = encode(picture, quality)
        _write(folder / job.folder / f"{name}.jpg", image)
        _write(folder / "masks" / job.folder / f"{name}.png", mask)
        digests["rendered"].update(picture.rgb.tobytes() + picture.parts.tobytes())
        digests["pixels"].update(np.asarray(Image.open(io.BytesIO(image))).tobytes())
        digests["files"].update(image + mask)
        for kind, content in zip(_SIZES, (image, mask), strict=True):
            sizes[kind].append(len(content))
    return {
        **{kind: digest.hexdigest() for kind, digest in digests.items()},
        **{kind: size_digest(values) for kind, values in sizes.items()},
    }


def _identities(request: Request) -> dict[str, dict]:
    preset, entries = request.preset, {}
    for split, name, count in ((TRAIN, "train", preset.train_identities), (TEST, "test", preset.test_identities)):
        for index in range(count):
            who = identity_of(request, split, index)
            entries[f"{identity_number(preset, split, index):04d}"] = {
                "split": name,
                "group": look_alike_group(index, count, preset.look_alikes, preset.look_alike_share)[0],
                **asdict(who),
                "colours": garment_colours(who),
            }
    return entries


def _resume(partial: Path, request: Request, jobs: list[Job]) -> list[dict[str, str]]:
    """Digests of the first jobs, as far as an interrupted run has finished them and their files are still as written.

    What another request left behind is cleared.

    Raises:
        RenderError: the folder is not what an interrupted run leaves.
    """
    header = json.dumps(request.spec(), sort_keys=True)
    finished = _finished(partial / JOURNAL, header)
    if finished is not None:
        pairs = itertools.takewhile(lambda pair: _is_as_written(partial, *pair), zip(jobs, finished, strict=False))
        digests = [digest for _, digest in pairs]
    else:
        if partial.exists():
            if not (partial / JOURNAL).is_file() and any(partial.iterdir()):
                raise RenderError(f"{partial} is not what an interrupted rendering leaves; move it away")
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        digests = []
    lines = [header, *map(json.dumps, digests)]
    (partial / JOURNAL).write_text("\n".join(lines) + "\n")
    return digests


def _finished(journal: Path, header: str) -> list[dict[str, str]] | None:
    """What the journal of a request says; None without one, or if it is another request's or damaged."""
    if not journal.is_file():
        return None
    try:
        lines = journal.read_text().split("\n")
        # What follows the last line break was being written when the run ended.
        return [json.loads(line) for line in lines[1:-1]] if lines[0] == header else None
    except (ValueError, RecursionError):
        return None


def _is_as_written(partial: Path, job: Job, digest: object) -> bool:
    """Whether a line of the journal is whole, and the files of its job are those that it tells of."""
    if not isinstance(digest, dict) or set(digest) != set(_DIGESTS) or {*map(type, digest.values())} != {str}:
        return False
    try:
        return file_digest(partial, job) == digest["files"]
    except OSError:
        return False


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(request: Request, partial: Path, jobs: list[Job], workers: int) -> Iterator[dict[str, str]]:
    if workers == 1:
        for job in jobs:
            yield _render_job(request, partial, job)
        return
    # A forked process starts at once; macOS's own libraries do not survive it, and Windows has none
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    if sys.platform == "win32":
        workers = min(workers, _MOST_WORKERS_ON_WINDOWS)
    with ProcessPoolExecutor(workers, context, _leave_interrupts_to_parent) as pool:
        repeat = len(jobs)
        try:
            yield from pool.map(_render_job, [request] * repeat, [partial] * repeat, jobs, chunksize=4)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _render(request: Request, folder: Path, workers: int, progress: Callable[[int, int], None]) -> None:
    partial = folder.with_name(folder.name + ".partial")
    jobs = plan(request.preset, request.seed)
    total = sum(len(job.names) for job in jobs)
    digests = _resume(partial, request, jobs)
    done = sum(len(job.names) for job in jobs[: len(digests)])
    progress(done, total)
    todo = jobs[len(digests) :]
    with open(partial / JOURNAL, "a") as journal:
        for job, digest in zip(todo, _run(request, partial, todo, workers), strict=True):
            digests.append(digest)
            journal.write(json.dumps(digest) + "\n")
            journal.flush()
            done += len(job.names)
            progress(done, total)
    for above, suffix in (("", ".jpg"), ("masks", ".png")):
        compare_names(
            partial, jobs, above, suffix
        )  # what was added while the run was interrupted is no part of the set
    (partial / "identities.json").write_text(json.dumps(_identities(request), indent=1))
    manifest = {
        "spec": request.spec(),
        "parts": list(PARTS),
        "cameras": [asdict(make_camera(request.seed, k, request.preset)) for k in range(request.preset.cameras)],
        "splits": split_hashes(jobs, digests),
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    (partial / JOURNAL).unlink()
    partial.rename(folder)


def ensure(
    root: str | os.PathLike,
    preset: Preset,
    seed: int = 0,
    size: tuple[int, int] = DEFAULT_SIZE,
    workers: int = 1,
    check: bool = False,
    as_found: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Render a set unless it is there, and return its folder ``ROOT/synthreid-NAME``.

    One process renders while others that ask for the same set wait. What is interrupted stays in ``*.partial`` and is
    taken up by the next call with the same request.

    Args:
        root: the data root.
        preset: what to render.
        seed: of everything.
        size: height and width of the images in pixels.
        workers: processes; the pixels do not depend on it.
        check: whether the files of a set that is there are compared with its hashes, or by names and sizes only.
        as_found: whether to take a set of another seed, size or knobs that lies in the folder already.
        progress: called with the images done and their total.

    Raises:
        RenderError: when the folder holds another or a damaged set, or the disk is full or not writable.
    """
    request, folder = Request(preset, seed, size), set_folder(root, preset.name)
    try:
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            # The system frees the lock when the process ends, however it ends
            with FileLock(folder.with_name(f".{folder.name}.lock")):
                if not folder.exists():
                    _render(request, folder, workers, progress)
                    return folder
        if check:
            verify(folder, None if as_found else request)
            return folder
        if not as_found:
            check_spec(folder, request)
        check_files(folder)
    except OSError as error:
        where = error.filename or folder
        raise RenderError(
            f"cannot write {where}: {error.strerror}; make room or choose another root, and run it again to go on"
        ) from error
    return folder
