"""Files that are complete or not there."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mdpr_fastreid.errors import UsageError


def write_whole(path: Path | str, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file, and its folder if need be, so that ``path`` is at any moment either as it was or complete.

    Args:
        path: the file.
        content: the bytes, or what writes them: it gets the temporary file, which is in the same folder.

    Raises:
        UsageError: the disk is full or the folder cannot be written.
    """
    temporary = Path(f"{path}.tmp")
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content) if isinstance(content, bytes) else content(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        # What the disk or the user says, PyTorch's writer covers with a complaint about positions
        said = error if isinstance(error, OSError) else error.__context__
        if isinstance(said, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        if not isinstance(said, OSError):
            raise
        raise UsageError(
            f"{path} cannot be written: {said.strerror or said}; make room, or name another place"
        ) from error
    _sync_folder(temporary.parent)


def need_place(path: Path) -> None:
    """Refuse a place that :func:`write_whole` cannot write to, before the work whose result goes there.

    Args:
        path: of a file; its folder is made.

    Raises:
        UsageError: it is a folder or no regular file, or its folder cannot be made or written.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} cannot be written: it is {'a folder' if path.is_dir() else 'no regular file'}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}; name another place") from error


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut, where the system can."""
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder.absolute(), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
