"""What a rendered set is by its manifest, and whether its files still are what was rendered."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import fields
from numbers import Real
from pathlib import Path
from typing import NamedTuple

from .identity import TEST, TRAIN
from .plan import GALLERY_FOLDER, QUERY_FOLDER, TRACKLET_FOLDERS, TRAIN_FOLDER, Job, plan
from .presets import Preset, describe

RENDERER_VERSION = 1
"""Goes up with every change that changes a pixel."""

MANIFEST = "manifest.json"
# A set from before a knob was there has its default
_YOUNGER_KNOBS = {"look_alike_share"}
# No set that anyone renders is larger, and a damaged number must not fill the memory
_LARGEST_COUNT, _MOST_CAMERAS = 10**6, 9


class RenderError(Exception):
    """A set that cannot be rendered or is not what it should be; the message names the way out."""


class Request(NamedTuple):
    """What decides every pixel: preset, seed and ``(height, width)``."""

    preset: Preset
    seed: int
    size: tuple[int, int]

    def spec(self) -> dict:
        """The request as it stands in the manifest."""
        return {
            "renderer": RENDERER_VERSION,
            "preset": describe(self.preset),
            "seed": self.seed,
            "size": list(self.size),
        }


def mask_path(image: str | os.PathLike) -> str:
    """The mask of an image of a rendered set: ``SET/query/x.jpg`` has ``SET/masks/query/x.png``."""
    image = Path(image)
    return str(image.parent.parent / "masks" / image.parent.name / f"{image.stem}.png")


def read_manifest(folder: Path) -> dict:
    """The manifest of a rendered set: its ``spec``, and for each folder in ``splits`` images and hashes.

    Raises:
        RenderError: when there is none, or it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise RenderError(f"{folder} has no {MANIFEST}: it is no rendered set; name another folder or delete it")
    try:
        manifest = json.loads(path.read_text())
        sound = _is_sound_spec(manifest["spec"]) and _are_sound_splits(manifest["splits"], manifest["spec"]["preset"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise RenderError(f"{path} is damaged; delete {folder} and render again")
    manifest["spec"]["preset"] = describe(Preset(**manifest["spec"]["preset"]))
    return manifest


def _is_sound_spec(spec: dict) -> bool:
    size = spec["size"]
    return (
        all(map(_is_whole, (spec["renderer"], spec["seed"], *size)))
        and len(size) == 2
        and spec["preset"].keys() | _YOUNGER_KNOBS == {field.name for field in fields(Preset)}
        and _is_sound(Preset(**spec["preset"]))
    )


def _are_sound_splits(splits: dict, preset: dict) -> bool:
    counts = {name: entry["images"] for name, entry in splits.items()}
    return counts == _images(Preset(**preset)) and all(isinstance(entry["files"], str) for entry in splits.values())


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2**63


def _is_sound(preset: Preset) -> bool:
    for field in fields(preset):
        value = getattr(preset, field.name)
        if field.type is int and not (_is_whole(value) and value <= _LARGEST_COUNT):
            return False
        if field.type is float and not isinstance(value, Real):
            return False
    return isinstance(preset.name, str) and 1 <= preset.cameras <= _MOST_CAMERAS and preset.look_alikes >= 1


def _images(preset: Preset) -> dict[str, int]:
    """How many images each folder has."""
    counts = {
        TRAIN_FOLDER: preset.train_images,
        QUERY_FOLDER: preset.query_images,
        GALLERY_FOLDER: preset.gallery_images + preset.junk_images,
        TRACKLET_FOLDERS[TRAIN]: preset.frames * preset.train_tracklets,
        TRACKLET_FOLDERS[TEST]: preset.frames * preset.test_tracklets,
    }
    return {folder: images for folder, images in counts.items() if images}


def request_of(folder: Path) -> Request:
    """The request that a rendered set answers, from its manifest.

    Raises:
        RenderError: when the manifest is damaged, or another version of the renderer made the set.
    """
    spec = read_manifest(folder)["spec"]
    if spec["renderer"] != RENDERER_VERSION:
        raise RenderError(f"{folder} is of renderer {spec['renderer']}, this is {RENDERER_VERSION}; render it again")
    return Request(Preset(**spec["preset"]), spec["seed"], tuple(spec["size"]))


def departures(folder: Path, request: Request) -> list[str]:
    """In what a rendered set is not the one requested, e.g. ``["seed 3 instead of 0"]``."""
    found, wanted = (
        {**spec["preset"], **{key: value for key, value in spec.items() if key != "preset"}}
        for spec in (read_manifest(folder)["spec"], request.spec())
    )
    return [f"{key} {found.get(key)} instead of {wanted[key]}" for key in wanted if found.get(key) != wanted[key]]


def check_spec(folder: Path, request: Request) -> None:
    """Refuse a set that answers another request.

    Raises:
        RenderError: it says in what they differ.
    """
    changed = departures(folder, request)
    if changed:
        raise RenderError(f"{folder} holds another set ({', '.join(changed)}); choose another root, or delete it first")


def split_hashes(jobs: list[Job], digests: list[dict[str, str]]) -> dict[str, dict]:
    """One entry a folder: how many images, and a hash of the jobs' digests in order for each kind of digest."""
    splits: dict[str, dict] = {}
    for job, digest in zip(jobs, digests, strict=True):
        entry = splits.setdefault(job.folder, {"images": 0, **{kind: hashlib.sha256() for kind in digest}})
        entry["images"] += len(job.names)
        for kind, value in digest.items():
            entry[kind].update(value.encode())
    return {
        folder: {key: value if key == "images" else value.hexdigest() for key, value in entry.items()}
        for folder, entry in splits.items()
    }


def file_digest(folder: Path, job: Job) -> str:
    """SHA-256 over the bytes of a job's images, each followed by its mask.

    Raises:
        FileNotFoundError: one is missing.
    """
    digest = hashlib.sha256()
    for name in job.names:
        for path in (folder / job.folder / f"{name}.jpg", folder / "masks" / job.folder / f"{name}.png"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def size_digest(sizes: list[int]) -> str:
    """SHA-256 over the sizes, in bytes, of a job's images, or of their masks."""
    return hashlib.sha256(" ".join(map(str, sizes)).encode()).hexdigest()


def check_files(folder: Path) -> None:
    """Compare names, counts and sizes of a rendered set's files with its manifest; no file is opened.

    A set whose folder of masks is removed is a set without masks. Sets that were rendered before sizes were written
    down are compared by names.

    Raises:
        RenderError: naming what is missing, added or changed.
    """
    request, splits = request_of(folder), read_manifest(folder)["splits"]
    jobs = plan(request.preset, request.seed)
    kinds = [("sizes", "", ".jpg"), *([("mask_sizes", "masks", ".png")] if (folder / "masks").exists() else [])]
    for kind, above, suffix in kinds:
        found = compare_names(folder, jobs, above, suffix)
        digests = [{kind: size_digest([found[job.folder, name] for name in job.names])} for job in jobs]
        for name, entry in split_hashes(jobs, digests).items():
            if splits[name].get(kind, entry[kind]) != entry[kind]:
                raise _changed(folder, folder / above / name)


def compare_names(folder: Path, jobs: list[Job], above: str, suffix: str) -> dict[tuple[str, str], int]:
    """Compare the names of the files with the plan's.

    Args:
        folder: of the set.
        jobs: the plan.
        above: the folder in it that has the folders of the jobs.
        suffix: of the files; others are not looked at.

    Returns:
        The size of each file in bytes, by the job's folder and the name.

    Raises:
        RenderError: naming the first that is missing, or none of the set's.
    """
    found = {
        (place, name): size
        for place in dict.fromkeys(job.folder for job in jobs)
        for name, size in _files(folder / above / place, suffix)
    }
    planned = dict.fromkeys((job.folder, name) for job in jobs for name in job.names)
    for place, name in planned:
        if (place, name) not in found:
            raise RenderError(f"{folder / above / place / name}{suffix} is missing; delete {folder} and render again")
    for place, name in found.keys() - planned.keys():
        path = folder / above / place / name
        raise RenderError(f"{path}{suffix} was not rendered; move it away, or delete {folder} and render again")
    return found


def _files(folder: Path, suffix: str, within: str = "") -> Iterator[tuple[str, int]]:
    """Names, relative and without suffix, and sizes of all files below a folder; -1 for what is no regular file."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(folder / entry.name, suffix, f"{within}{entry.name}/")
            elif entry.name.endswith(suffix):
                yield within + entry.name.removesuffix(suffix), _size(entry)


def _size(entry: os.DirEntry) -> int:
    try:
        state = entry.stat()
    except OSError:  # a link to nowhere
        return -1
    return state.st_size if stat.S_ISREG(state.st_mode) else -1


def _changed(folder: Path, place: Path) -> RenderError:
    return RenderError(f"files in {place} are not what was rendered; delete {folder} and render again")


def verify(folder: Path, request: Request | None = None) -> None:
    """Compare a rendered set, file by file, with the hashes in its manifest.

    Args:
        folder: of the set.
        request: what it has to be; by default what its manifest says.

    Raises:
        RenderError: naming what is missing, added or changed.
    """
    request = request or request_of(folder)
    check_spec(folder, request)
    check_files(folder)
    jobs, splits = plan(request.preset, request.seed), read_manifest(folder)["splits"]
    try:
        digests = [{"files": file_digest(folder, job)} for job in jobs]
    except FileNotFoundError as error:
        raise RenderError(f"{error.filename} is missing; delete {folder} and render again") from None
    except OSError as error:
        raise RenderError(f"{error.filename} cannot be read: {error.strerror}") from None
    for name, entry in split_hashes(jobs, digests).items():
        if entry["files"] != splits[name]["files"]:
            raise _changed(folder, folder / name)
