"""The work of embedding a folder in chunks: finished ones outlast a kill, and several processes share the others."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdpr_fastreid.embedding.facts import FolderImages
from mdpr_fastreid.embedding.model_id import ModelId
from mdpr_fastreid.engine.torchrun import started_by_torchrun
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import need_place, write_whole

LOCK = ".lock"
_PLAN = "plan.json"
_IMAGES = 1024
"""Of a chunk, about."""
_VERSION = 1


class Share(NamedTuple):
    """Which of several processes this is."""

    rank: int = 0
    processes: int = 1

    @classmethod
    def of_environment(cls) -> "Share":
        """As ``torchrun`` says it; otherwise the only one.

        Schedulers leave single ones of its variables behind, so all of them have to be there.

        Raises:
            UsageError: they are, and cannot be.
        """
        if not started_by_torchrun():
            return cls()
        words = os.environ["RANK"], os.environ["WORLD_SIZE"]
        if not all(word.isdecimal() for word in words) or int(words[0]) >= int(words[1]):
            raise UsageError(f"RANK {words[0]} of WORLD_SIZE {words[1]}: unset them, or start it by torchrun")
        return cls(int(words[0]), int(words[1]))


class Chunk(NamedTuple):
    """Embeddings of some of the images."""

    rows: np.ndarray
    """int64 ``[n]``, which images could be read."""
    vectors: np.ndarray
    """float32 ``[n, D]``."""
    damaged: list[tuple[int, str]]
    """Which images could not be read, and why."""


class Chunks:
    """The chunks of a folder's images, in a folder beside what they become.

    A chunk has whole batches, but for the last: so whoever computes which, the batches are the same, and the numbers.

    Args:
        folder: where they lie.
        images: what is embedded.
        model: by which model.
        batch_size: images of a batch.
    """

    def __init__(self, folder: Path, images: FolderImages, model: ModelId, batch_size: int) -> None:
        self.folder, self._images, self._model = folder, images, model
        self._size = max(1, _IMAGES // batch_size) * batch_size
        self._plan = {"version": _VERSION, "model": model.to_dict(), "batch": batch_size, "images": _digest(images)}

    def __len__(self) -> int:
        return -(-len(self._images) // self._size)

    def start(self, share: Share, patience: float = 600.0) -> None:
        """Make the folder, or go on with it; chunks of other images, or of another model, are thrown away.

        Args:
            share: the first process writes, the others wait for it.
            patience: seconds to wait.

        Raises:
            UsageError: the folder cannot be made, or the processes do not embed the same images by the same model.
        """
        text = json.dumps(self._plan, sort_keys=True)
        plan = self.folder / _PLAN
        if share.rank == 0:
            need_place(plan)
            if _text_of(plan) != text:
                for old in self.folder.glob("chunk-*"):
                    old.unlink()
                write_whole(plan, text.encode())
            return
        end = time.monotonic() + patience
        while _text_of(plan) != text:
            if time.monotonic() > end:
                raise UsageError(
                    f"process {share.rank} finds no {plan} of its images and its model: do all machines see the same "
                    "folders, with the same images, and the same weights?"
                )
            time.sleep(0.2)

    def todo(self, share: Share) -> list[int]:
        """The chunks that are left for a process."""
        return [number for number in range(share.rank, len(self), share.processes) if not self._file(number).exists()]

    def images_done(self) -> int:
        """How many images are in finished chunks."""
        return len(self._images) - sum(len(self.rows(number)) for number in self.todo(Share()))

    def rows(self, number: int) -> range:
        """The images of a chunk."""
        return range(number * self._size, min((number + 1) * self._size, len(self._images)))

    def write(self, number: int, chunk: Chunk) -> None:
        """Keep a finished chunk, whole or not at all."""
        damaged = np.array(json.dumps(chunk.damaged))
        arrays = {"rows": chunk.rows, "vectors": chunk.vectors, "damaged": damaged}
        write_whole(self._file(number), lambda file: np.savez(file, **arrays))

    def wait(self, patience: float = 3600.0) -> None:
        """Wait until every process has finished its chunks.

        Args:
            patience: seconds without a new chunk.

        Raises:
            UsageError: nothing came for so long.
        """
        done, since = -1, time.monotonic()
        while (now := sum(self._file(number).exists() for number in range(len(self)))) < len(self):
            if now != done:
                done, since = now, time.monotonic()
            if time.monotonic() - since > patience:
                raise UsageError(f"{len(self) - now} of {len(self)} chunks are missing: has a process ended?")
            time.sleep(0.2)

    def read(self) -> Iterator[Chunk]:
        """All chunks, in order.

        Raises:
            UsageError: one cannot be read; it is deleted, so that the same command computes it again.
        """
        for number in range(len(self)):
            file = self._file(number)
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    rows, vectors = arrays["rows"], arrays["vectors"]
                    damaged = [(int(row), str(why)) for row, why in json.loads(str(arrays["damaged"]))]
            except Exception as error:  # of any type: what a file is when a disk has lost some of it
                file.unlink(missing_ok=True)
                raise UsageError(f"{file} was damaged and is deleted: run the same command again") from error
            yield Chunk(rows, vectors, damaged)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, number: int) -> Path:
        return self.folder / f"chunk-{number:06d}.npz"


def _text_of(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _digest(images: FolderImages) -> str:
    """Of the images' names, sizes and times of change: chunks of older files are not gone on with."""
    digest = hashlib.sha256(images.root.encode(errors="surrogateescape"))
    for row in range(len(images)):
        try:
            found = os.stat(images.path(row))
            state = f"{found.st_size} {found.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"\0{images.names[row]}\0{state}".encode(errors="surrogateescape"))
    return digest.hexdigest()
