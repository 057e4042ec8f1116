"""Weight files that must not be trusted."""

import os
from pathlib import Path


class Harmful:
    """Pickled into a weight file: whoever runs the pickle gets a folder ``run-by-a-pickle``."""

    def __reduce__(self):
        return (os.mkdir, ("run-by-a-pickle",))


def truncated(path: Path, share: float) -> Path:
    """The file, of which this share of its bytes is left."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path
