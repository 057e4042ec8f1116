"""A disk that is full: what is written to ``/dev/full`` has no room."""

import os
from pathlib import Path


def fill_disk_at(path: os.PathLike | str) -> None:
    """Let the file that is written before ``path`` gets its name have no room."""
    Path(f"{path}.tmp").symlink_to("/dev/full")
