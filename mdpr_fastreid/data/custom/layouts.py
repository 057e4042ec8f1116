"""The three layouts of a user's folder, read into records: Market-1501's, one folder per identity, ``manifest.csv``."""

import csv
import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mdpr_fastreid.data.custom.records import Record
from mdpr_fastreid.data.custom.tracklets import joined
from mdpr_fastreid.data.datasets.base import DISTRACTOR, JUNK
from mdpr_fastreid.data.listing import IMAGE_SUFFIXES, Listings, missing_files
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


def read_records(folder: Path, camera_pattern: str = "", listings: Listings | None = None) -> list[Record]:
    """The images, or tracklets, of a folder in one of the three layouts, without junk (identity -1).

    Args:
        folder: has ``manifest.csv``, or Market-1501's folders, or one folder per identity (perhaps within ``train``,
            ``test``, ``query``, ``gallery``).
        camera_pattern: a regular expression whose one group is the camera in a file's name; "" for none.
        listings: of its folders, for :func:`left_out`.

    Raises:
        UsageError: the folder is missing or empty, or something in it cannot be understood; the message says what.
    """
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is no folder")
    pattern, listings = _compiled(camera_pattern), listings or Listings()
    if _has_manifest(folder):
        records = joined(_from_manifest(folder / MANIFEST, pattern))
    elif _is_market(folder):
        records = list(_from_market(folder, listings))
    else:
        records = list(_from_folders(folder, pattern, listings))
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


def _camera(path: str, pattern: re.Pattern | None) -> str:
    if pattern is None:
        return ""
    found = pattern.search(os.path.basename(path))
    if not found or not found[1]:
        raise UsageError(f"{path}: DATASETS.CUSTOM_CAMERA_PATTERN {pattern.pattern!r} finds no camera in its name")
    return found[1]


def _is_market(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in ("bounding_box_train", "bounding_box_test"))


def _from_market(folder: Path, listings: Listings) -> Iterator[Record]:
    for name, split in _MARKET.items():
        if not (folder / name).is_dir():
            if name == "bounding_box_train":
                continue
            raise UsageError(f"{folder} has some of Market-1501's folders ({', '.join(_MARKET)}), but not {name}")
        for path in listings.of(folder / name).images:
            found = _MARKET_NAME.match(os.path.basename(path))
            if found is None:
                raise UsageError(f"{path} is not named as Market-1501's images are, e.g. 0002_c1s1_000451_03.jpg")
            yield Record(path, str(int(found[1])), found[2], split)


def _from_folders(folder: Path, pattern: re.Pattern | None, listings: Listings) -> Iterator[Record]:
    loose = listings.of(folder).images
    if loose:
        raise UsageError(f"{loose[0]} lies beside the identities' folders; put each image into its identity's folder")
    for part, split in _parts(folder, listings):
        identities = [path for path in listings.of(part).folders if not _holds_masks(path, folder, listings)]
        listings.list_all(identities)
        for identity in identities:
            paths = listings.of(identity).images
            if not paths:
                raise UsageError(
                    f"{identity} holds no images; identities have one folder each, without folders in it "
                    f"({MANIFEST} can name tracklets)"
                )
            for path in paths:
                yield Record(path, os.path.basename(identity), _camera(path, pattern), split)


def _parts(folder: Path, listings: Listings) -> list[tuple[str, str]]:
    """The folders that hold identities, with their splits: those named so, or the folder itself."""
    folders = [path for path in listings.of(folder).folders if not _holds_masks(path, folder, listings)]
    names = [os.path.basename(path) for path in folders]
    named = folders and set(names) <= set(SPLITS)
    return list(zip(folders, names, strict=True)) if named else [(str(folder), "")]


def _holds_masks(path: str, folder: Path, listings: Listings) -> bool:
    """Whether a path is the folder of a set's masks: its files mirror those of the set, so no image is right in it."""
    return path == str(folder / MASKS) and not listings.of(path).images


def _from_manifest(manifest: Path, pattern: re.Pattern | None) -> list[Record]:
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
    lines: dict[str, int] = {}
    records = []
    for line, row in rows:
        record = _record(manifest, line, row, pattern)
        if record.path in lines:
            raise UsageError(
                f"{manifest}, line {line}: {shown(record.path)} stands in line {lines[record.path]} already"
            )
        lines[record.path] = line
        records.append(record)
    for record in records:
        lines.setdefault(record.mask, lines[record.path])
    for file in missing_files(filter(None, lines)):
        # It may be there by another name: on a disk that takes capitals for small letters
        if not os.path.isfile(file):
            raise UsageError(f"{manifest}, line {lines[file]}: {shown(file)} does not exist")
    return records


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
    if cell["frame"] and not (cell["frame"].isdecimal() and len(cell["frame"]) <= MOST_DIGITS):
        raise wrong(f"frame {cell['frame'][:40]!r} is no whole number of at most {MOST_DIGITS} digits")
    camera = cell["camera"] or _camera(str(path), pattern)
    return Record(str(path), cell["identity"], camera, cell["split"], mask, int(cell["frame"] or 0), cell["tracklet"])


def left_out(folder: Path, listings: Listings | None = None) -> list[Path]:
    """Files within a layout that are no images by their names, or lie too deep to belong to an identity.

    Args:
        folder: as :func:`read_records` takes it. Of a manifest's folder nothing is left out: it says what belongs.
        listings: of its folders, as far as they are known.
    """
    if _has_manifest(folder):
        return []
    listings = listings or Listings()
    market = [(str(folder / name), 1) for name in _MARKET if (folder / name).is_dir()]
    places = market if _is_market(folder) else [(part, 2) for part, _ in _parts(folder, listings)]
    strays = [sorted(map(Path, _strays(part, depth, folder, listings))) for part, depth in places]
    return [path for paths in strays for path in paths]


def _strays(place: str, depth: int, folder: Path, listings: Listings) -> Iterator[str]:
    """The files in and below a place that do not belong there; images belong so many levels deep, from 1."""
    contents = listings.of(place)
    for path in [*(contents.images if depth != 1 else ()), *contents.others]:
        if os.path.basename(path) not in _OF_FILE_MANAGERS and os.path.isfile(path):
            yield path
    for below in contents.folders:
        if below not in contents.links and not _holds_masks(below, folder, listings):
            yield from _strays(below, depth - 1, folder, listings)


def is_distractor(record: Record) -> bool:
    """Whether Market-1501's convention makes it a distractor: identity 0 in the gallery of that layout."""
    return record.identity == str(DISTRACTOR) and Path(record.path).parent.name == "bounding_box_test"
