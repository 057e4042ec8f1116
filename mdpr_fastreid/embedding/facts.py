"""What is known of the images of a folder beside their pixels: camera, time and identity."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from mdpr_fastreid.data.custom.layouts import MANIFEST, read_records
from mdpr_fastreid.embedding.inputs import images_below
from mdpr_fastreid.errors import UsageError, printable

_MARKET = re.compile(r"^(-?\d+)_c(\d+)")
"""Names of Market-1501's images, DukeMTMC-reID's and SynthReID's: ``0002_c1s1_000451_03.jpg``."""


@dataclass(frozen=True)
class FolderImages:
    """Images of a folder with what is known of them.

    Args:
        root: the folder, absolute.
        names: text ``[N]``, paths relative to it with ``/``, each once.
        cameras: text ``[N]``, "" where it is not known.
        times: float64 ``[N]``, seconds since 1970, NaN where it is not known.
        identities: text ``[N]``, "" where it is not known.
    """

    root: str
    names: np.ndarray
    cameras: np.ndarray
    times: np.ndarray
    identities: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def path(self, row: int) -> str:
        """The file of an image."""
        return os.path.join(self.root, str(self.names[row]))

    def rows(self, chosen: np.ndarray | slice) -> "FolderImages":
        """Some of them, by a mask, indices or a slice."""
        arrays = (array[chosen] for array in (self.names, self.cameras, self.times, self.identities))
        return FolderImages(self.root, *arrays)

    def seen_from(self, root: str) -> "FolderImages":
        """The same images, named relative to another folder."""
        if root == self.root:
            return self
        names = [Path(os.path.relpath(self.path(row), root)).as_posix() for row in range(len(self))]
        return FolderImages(root, _texts(names), self.cameras, self.times, self.identities)

    def described(self) -> str:
        """What is known, in words: ``128 images, 6 cameras, 64 identities``."""
        said = [f"{len(self)} images"]
        for word, values in (("cameras", self.cameras), ("identities", self.identities)):
            known = values[values != ""]
            unknown = len(values) - len(known)
            rest = f" ({unknown} images without)" if len(known) and unknown else ""
            said.append(f"{len(np.unique(known)) or 'no'} {word}{rest}")
        timed = np.isfinite(self.times).sum()
        said.append(f"times of {timed}" if timed else "no times")
        return ", ".join(said)


def find_images(
    folder: str | os.PathLike, camera_pattern: str = "", time_pattern: str = "", time_format: str = ""
) -> FolderImages:
    """The images of a folder, of all folders in it, or those that its ``manifest.csv`` names.

    Cameras and identities are the manifest's; else those of names as Market-1501's (``0002_c1s1_000451_03.jpg``).

    Args:
        folder: of images.
        camera_pattern: a regular expression whose one group is the camera, searched for in the path within the folder.
        time_pattern: a regular expression whose one group is the time, in seconds since 1970 or in ``time_format``.
        time_format: as of ``datetime.strptime``, such as ``%Y%m%d_%H%M%S``; without a zone it is UTC.

    Returns:
        :class:`FolderImages`, sorted by name.

    Raises:
        UsageError: the folder or its manifest cannot be read or has no images, or a pattern is wrong or finds what is
            no time.
    """
    root = os.path.abspath(folder)
    if os.path.isfile(os.path.join(root, MANIFEST)):
        names, cameras, identities = _of_manifest(Path(root))
    else:
        names = images_below(root)
        cameras, identities = zip(*map(_of_name, names), strict=True) if names else ((), ())
    if not names:
        raise UsageError(f"{folder} holds no images")
    if camera_pattern:
        pattern = compiled(camera_pattern, "--camera-pattern")
        cameras = [_group(pattern, name) or camera for name, camera in zip(names, cameras, strict=True)]
    times = np.full(len(names), np.nan)
    if time_pattern:
        pattern = compiled(time_pattern, "--time-pattern")
        times[:] = [_time(_group(pattern, name), time_format, name) for name in names]
    elif time_format:
        raise UsageError("--time-format says how a time is written: give --time-pattern, which finds it")
    return FolderImages(root, _texts(names), _texts(cameras), times, _texts(identities))


def camera_of(path: str, camera_pattern: str = "") -> str:
    """The camera that the name of an image file says, as :func:`find_images` reads it; "" if it says none.

    Raises:
        UsageError: the pattern is wrong.
    """
    found = _group(compiled(camera_pattern, "--camera-pattern"), path) if camera_pattern else ""
    return found or _of_name(path)[0]


def _of_name(path: str) -> tuple[str, str]:
    """Camera and identity that a name as Market-1501's says."""
    found = _MARKET.match(os.path.basename(path))
    return (found[2], str(int(found[1]))) if found else ("", "")


def _texts(values: Sequence[str]) -> np.ndarray:
    return np.array(values, dtype=np.str_) if len(values) else np.empty(0, "<U1")


def _of_manifest(root: Path) -> tuple[list[str], list[str], list[str]]:
    rows = {}
    for record in read_records(root):
        for path in record.clip or (record.path,):
            rows[Path(os.path.relpath(path, root)).as_posix()] = (record.camera, record.identity)
    names = sorted(rows)
    return names, [rows[name][0] for name in names], [rows[name][1] for name in names]


def compiled(pattern: str, option: str) -> re.Pattern:
    """A regular expression with one group.

    Raises:
        UsageError: it is none, or has another number of groups.
    """
    try:
        made = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{option} {pattern!r} is no regular expression: {error}") from None
    if made.groups != 1:
        raise UsageError(f"{option} {pattern!r} needs one group, e.g. 'cam(\\d+)'; it has {made.groups}")
    return made


def _group(pattern: re.Pattern, name: str) -> str:
    found = pattern.search(name)
    return (found[1] or "") if found else ""


def _time(text: str, time_format: str, name: str) -> float:
    if not text:
        return math.nan
    try:
        if not time_format:
            seconds = float(text)
        else:
            moment = datetime.strptime(text, time_format)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        hint = "" if time_format else "; --time-format says how it is written, such as %Y%m%d_%H%M%S"
        raise UsageError(
            f"{name}: --time-pattern finds {printable(text)!r}, which is no time ({error}){hint}"
        ) from None
    if not math.isfinite(seconds):
        raise UsageError(f"{name}: --time-pattern finds {printable(text)!r}, which is no time")
    return seconds


def _no_time(name: str, text: str, more: str = "") -> UsageError:
    return UsageError(f"{name}: --time-pattern finds {printable(text)!r}, which is no time{more}")
