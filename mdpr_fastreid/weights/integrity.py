"""Whether a weight file is the one that was meant, bit for bit."""

import hashlib
import logging
import re
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mdpr_fastreid.errors import UsageError, shown
from mdpr_fastreid.io import need_place, write_whole

logger = logging.getLogger("fastreid.weights")

_COPY = "take another copy, or an earlier checkpoint"


def _check_archive(path: Path) -> None:
    """Refuse a zip archive, which is what ``torch.save`` writes, with a checksum that does not fit; pass others."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except OSError:
        raise
    except Exception as error:  # of any type: zipfile takes what is damaged for encrypted, for a later version, ...
        raise UsageError(f"{path}: is truncated or damaged: {_COPY}") from error
    if damaged:
        raise UsageError(f"{path}: is damaged, the checksum of {shown(damaged)} in it does not fit: {_COPY}")


def check_intact(path: Path | str) -> None:
    """Refuse a weight file that is no regular file, or that has changed since it was written.

    ``torch.save`` writes a checksum of each tensor, which ``torch.load`` does not compare. ``.safetensors`` has none
    and is compared with the SHA-256 beside it, where there is one (:func:`write_with_sha256`).

    Raises:
        UsageError: it says which of these.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            what = "a folder" if path.is_dir() else "no regular file"
            raise UsageError(f"{path}: is {what}, not a weight file")
        _check_archive(path)
    except (FileNotFoundError, ValueError):  # no path has a NUL
        raise no_weight_file(path) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    beside = sha256_file(path)
    if not beside.is_file() or beside.read_text(errors="replace")[:64] == sha256_of(path):
        return
    differs = f"{path}: its SHA-256 is not the one in {beside.name}"
    if path.suffix == ".safetensors":  # which has no checksums inside
        raise UsageError(f"{differs}: it is damaged or was replaced. {_COPY.capitalize()}, or delete {beside.name}")
    logger.warning("%s: it was replaced since; its own checksums fit", differs)


def no_weight_file(path: Path | str) -> UsageError:
    """The error for a weight file that is not there, or that is an address."""
    if found := re.match(r"[A-Za-z][\w+.-]+:/+", str(path)):  # a Path has one of its slashes only
        address = f"{found[0].rstrip('/')}//{str(path)[found.end() :]}"
        return UsageError(f"{address}: is an address, and weights are read from files: download it, and give its path")
    return UsageError(f"{path}: no such weight file")


def sha256_file(path: Path | str) -> Path:
    """Where the SHA-256 of a file lies, in the format of ``sha256sum``."""
    return Path(f"{path}.sha256")


def write_with_sha256(path: Path | str, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file as :func:`~mdpr_fastreid.io.write_whole` does, and its SHA-256 beside it.

    Raises:
        UsageError: as there.
    """
    need_place(Path(path))
    sha256_file(path).unlink(missing_ok=True)  # or, killed between the two, the new file would not fit the old sum
    write_whole(path, content)
    write_whole(sha256_file(path), f"{sha256_of(path)}  {Path(path).name}\n".encode())


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file, 64 hexadecimal digits.

    Raises:
        UsageError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (FileNotFoundError, ValueError):  # no path has a NUL
        raise no_weight_file(path) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def check_sha256(path: Path | str, pinned: str, key: str) -> str:
    """Make sure that a file is the one that was meant, before anything in it is read.

    Args:
        path: the file.
        pinned: the SHA-256 it has to have, or its first 8 digits or more, with or without ``sha256:`` before it; ""
            takes any file.
        key: the setting that ``pinned`` comes from, for the message.

    Returns:
        The file's SHA-256.

    Raises:
        UsageError: it is another file, or ``pinned`` is no SHA-256; both are in the message.
    """
    expected = pinned.lower().removeprefix("sha256:")
    if pinned and not re.fullmatch("[0-9a-f]{8,64}", expected):
        raise UsageError(f"{key} {pinned!r} is no SHA-256: give its 64 hexadecimal digits, or at least the first 8")
    actual = sha256_of(path)
    if not actual.startswith(expected):
        raise UsageError(f"{path}: is another file than {key} says: its SHA-256 is {actual}, pinned is {expected}")
    return actual
