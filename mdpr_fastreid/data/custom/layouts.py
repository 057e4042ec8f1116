"""The three layouts of a user's folder, read into records: Market-1501's, one folder per identity, ``manifest.csv``."""

import csv
import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mdpr_fastreid.data.custom.records import Record
from mdpr_fastreid.data.custom.tracklets import joined
from mdpr_fastreid.data.datasets.base import DISTRACTOR, IMAGE_SUFFIXES, JUNK, folders_in, images_in
from mdpr_fastreid.data.masks.places import FOLDER as MASKS
from mdpr_fastreid.errors import UsageError, shown

MANIFEST = "manifest.csv"
COLUMNS = ("path", "identity", "camera", "split", "mask", "frame", "tracklet")
SPLITS = ("train", "query", "gallery", "test")
_MARKET = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
_OF_FILE_MANAGERS = {"Thumbs.db", "desktop.ini"}
MOST_DIGITS = 18
"""Of a whole number in a manifest or in a name; longer ones are names."""
_MARKET_NAME = re.compile(r"^(-?\d+)_c(\d+)")


def read_records(folder: Path, camera_pattern: str = "") -> list[Record]:
    """The images, or tracklets, of a folder in one of the three layouts, without junk (identity -1).

    Args:
        folder: has ``manifest.csv``, or Market-1501's folders, or one folder per identity (perhaps within ``train``,
            ``test``, ``query``, ``gallery``).
        camera_pattern: a regular expression whose one group is the camera in a file's name; "" for none.

    Raises:
        UsageError: the folder is missing or empty, or something in it cannot be understood; the message says what.
    """
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is no folder")
    pattern = _compiled(camera_pattern)
    if _has_manifest(folder):
        records = joined(list(_from_manifest(folder / MANIFEST, pattern)))
    elif _is_market(folder):
        records = list(_from_market(folder))
    else:
        records = list(_from_folders(folder, pattern))
    records = [record for record in records if record.identity != str(JUNK)]
    if not records:
        raise UsageError(
            f"{folder} holds no images in a known layout: {MANIFEST}, Market-1501's folders (bounding_box_train, "
            "query, bounding_box_test), or one folder per identity"
        )
    return records


def _has_manifest(folder: Path) -> bool:
    """Whether a folder has a manifest; one that is a pipe or a link to nowhere is no reason to take another layout."""
    manifest = folder / MANIFEST
    if os.path.lexists(manifest) and not manifest.is_file():
        raise UsageError(f"{manifest} is no regular file")
    return manifest.is_file()


def _compiled(camera_pattern: str) -> re.Pattern | None:
    if not camera_pattern:
        return None
    try:
        pattern = re.compile(camera_pattern)
    except re.error as error:
        raise UsageError(
            f"DATASETS.CUSTOM_CAMERA_PATTERN {camera_pattern!r} is no regular expression: {error}"
        ) from None
    if pattern.groups != 1:
        raise UsageError(
            f"DATASETS.CUSTOM_CAMERA_PATTERN {camera_pattern!r} needs one group, the camera, e.g. 'cam(\\d+)'; "
            f"it has {pattern.groups}"
        )
    return pattern


def _camera(path: Path, pattern: re.Pattern | None) -> str:
    if pattern is None:
        return ""
    found = pattern.search(path.name)
    if not found or not found[1]:
        raise UsageError(f"{path}: DATASETS.CUSTOM_CAMERA_PATTERN {pattern.pattern!r} finds no camera in its name")
    return found[1]


def _is_market(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in ("bounding_box_train", "bounding_box_test"))


def _from_market(folder: Path) -> Iterator[Record]:
    for name, split in _MARKET.items():
        if not (folder / name).is_dir():
            if name == "bounding_box_train":
                continue
            raise UsageError(f"{folder} has some of Market-1501's folders ({', '.join(_MARKET)}), but not {name}")
        for path in images_in(folder / name):
            found = _MARKET_NAME.match(path.name)
            if found is None:
                raise UsageError(f"{path} is not named as Market-1501's images are, e.g. 0002_c1s1_000451_03.jpg")
            yield Record(str(path), str(int(found[1])), found[2], split)


def _from_folders(folder: Path, pattern: re.Pattern | None) -> Iterator[Record]:
    loose = images_in(folder)
    if loose:
        raise UsageError(f"{loose[0]} lies beside the identities' folders; put each image into its identity's folder")
    for part, split in _parts(folder):
        for identity in (path for path in folders_in(part) if not _holds_masks(path, folder)):
            paths = images_in(identity)
            if not paths:
                raise UsageError(
                    f"{identity} holds no images; identities have one folder each, without folders in it "
                    f"({MANIFEST} can name tracklets)"
                )
            for path in paths:
                yield Record(str(path), identity.name, _camera(path, pattern), split)


def _parts(folder: Path) -> list[tuple[Path, str]]:
    """The folders that hold identities, with their splits: those named so, or the folder itself."""
    folders = [path for path in folders_in(folder) if not _holds_masks(path, folder)]
    named = folders and {path.name for path in folders} <= set(SPLITS)
    return [(path, path.name) for path in folders] if named else [(folder, "")]


def _holds_masks(path: Path, folder: Path) -> bool:
    """Whether a path is the folder of a set's masks: its files mirror those of the set, so no image is right in it."""
    return path == folder / MASKS and path.is_dir() and not images_in(path)


def _from_manifest(manifest: Path, pattern: re.Pattern | None) -> Iterator[Record]:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
            _check_columns(manifest, reader.fieldnames)
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{manifest} cannot be read as CSV in UTF-8: {error}") from error
    if not rows:
        raise UsageError(f"{manifest} has no images, only its first line")
    seen: dict[str, int] = {}
    for line, row in rows:
        record = _record(manifest, line, row, pattern)
        if record.path in seen:
            raise UsageError(
                f"{manifest}, line {line}: {shown(record.path)} stands in line {seen[record.path]} already"
            )
        seen[record.path] = line
        yield record


def _check_columns(manifest: Path, columns: list[str]) -> None:
    missing = [name for name in COLUMNS[:2] if name not in columns]
    if missing and len(columns) == 1 and (separator := re.search(r"[;\t|]", columns[0])):
        raise UsageError(f"{manifest} is separated by {separator[0]!r}; save it with commas")
    if missing:
        raise UsageError(f"{manifest} has no column {missing[0]!r}; its columns: {shown(', '.join(columns)) or 'none'}")
    if twice := [name for name in COLUMNS if columns.count(name) > 1]:
        raise UsageError(f"{manifest} has the column {twice[0]!r} twice")
    for name in set(columns) - set(COLUMNS):
        nearest = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.75)
        if nearest and nearest[0] not in columns:
            raise UsageError(f"{manifest} has a column {shown(name)!r}; did you mean {nearest[0]!r}?")


def _record(manifest: Path, line: int, row: dict, pattern: re.Pattern | None) -> Record:
    def wrong(what: str) -> UsageError:
        return UsageError(f"{manifest}, line {line}: {what}")

    if None in row:
        raise wrong("more fields than columns")
    cell = {name: (row.get(name) or "").strip() for name in COLUMNS}
    if not cell["path"] or not cell["identity"]:
        raise wrong("path or identity is empty")
    path = manifest.parent / cell["path"]
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise wrong(f"{shown(cell['path'])} is not named as an image is ({', '.join(sorted(IMAGE_SUFFIXES))})")
    if cell["split"] and cell["split"] not in SPLITS:
        raise wrong(f"split {shown(cell['split'])!r} is none of {', '.join(SPLITS)}")
    mask = str(manifest.parent / cell["mask"]) if cell["mask"] else ""
    for file in filter(None, (str(path), mask)):
        if not os.path.isfile(file):  # which a name that is too long is not, either
            raise wrong(f"{shown(file)} does not exist")
    if cell["frame"] and not (cell["frame"].isdecimal() and len(cell["frame"]) <= MOST_DIGITS):
        raise wrong(f"frame {cell['frame'][:40]!r} is no whole number of at most {MOST_DIGITS} digits")
    camera = cell["camera"] or _camera(path, pattern)
    return Record(str(path), cell["identity"], camera, cell["split"], mask, int(cell["frame"] or 0), cell["tracklet"])


def left_out(folder: Path) -> list[Path]:
    """Files within a layout that are no images by their names, or lie too deep to belong to an identity.

    Args:
        folder: as :func:`read_records` takes it. Of a manifest's folder nothing is left out: it says what belongs.
    """
    if _has_manifest(folder):
        return []
    market = [(folder / name, 1) for name in _MARKET]
    places = market if _is_market(folder) else [(part, 2) for part, _ in _parts(folder)]
    files = [(path, path.relative_to(part).parts, depth) for part, depth in places for path in sorted(part.rglob("*"))]
    masks = folder / MASKS
    if _holds_masks(masks, folder):
        files = [file for file in files if not file[0].is_relative_to(masks)]
    return [
        path
        for path, within, depth in files
        if len(within) != depth or path.suffix.lower() not in IMAGE_SUFFIXES
        if path.is_file() and path.name not in _OF_FILE_MANAGERS and not any(name.startswith(".") for name in within)
    ]


def is_distractor(record: Record) -> bool:
    """Whether Market-1501's convention makes it a distractor: identity 0 in the gallery of that layout."""
    return Path(record.path).parent.name == "bounding_box_test" and record.identity == str(DISTRACTOR)
