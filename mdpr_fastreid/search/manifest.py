"""The one file of a FAISS store that changes: which segments it has, with the hashes of all their files."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mdpr_fastreid.embedding import ModelId
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import write_whole

NAME = "manifest.json"
_FORMAT = 1
_HASHED_AT_ONCE = 2**20


@dataclass(frozen=True)
class FileRecord:
    """A file that was written once and never changes."""

    name: str
    size: int
    """Bytes."""
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "FileRecord":
        """The record of a file as it is now."""
        return cls(path.name, path.stat().st_size, sha256_of(path))

    def check(self, folder: Path, whole: bool = True) -> Path:
        """The path of the file, once it is as it was written.

        Args:
            folder: where it is.
            whole: compare its content; else its size only.

        Raises:
            FileNotFoundError: it is gone.
            UsageError: it is another.
        """
        path = folder / self.name
        size = path.stat().st_size
        if size != self.size:
            raise UsageError(f"{path} is damaged: it has {size:,} bytes of {self.size:,}; build the store again")
        if whole and sha256_of(path) != self.sha256:
            raise UsageError(f"{path} is damaged: its content is not what was written; build the store again")
        return path


@dataclass(frozen=True)
class SegmentRecord:
    """A part of a store."""

    folder: str
    rows: int
    kind: str
    """``exact``, ``hnsw`` or ``ivfpq``."""
    files: tuple[FileRecord, ...]
    """All but ``deleted``."""
    deleted: FileRecord | None = None
    """The rows of images that were deleted, or replaced by one of a later segment."""
    deleted_rows: int = 0
    effort: int = 0
    """Candidates (HNSW) or cells (IVF) that a search visits."""
    recall: dict[str, float] = field(default_factory=dict)
    """Share of the nearest 1 and 10 that the index found for a sample, against exact search."""

    @classmethod
    def from_dict(cls, values: dict) -> "SegmentRecord":
        """What :func:`dataclasses.asdict` made a dict of."""
        deleted = values["deleted"]
        return cls(
            **{
                **values,
                "files": tuple(FileRecord(**file) for file in values["files"]),
                "deleted": FileRecord(**deleted) if deleted else None,
            }
        )

    def all_files(self) -> list[FileRecord]:
        """Every file of the segment."""
        return [*self.files, *([self.deleted] if self.deleted else [])]


@dataclass(frozen=True)
class Manifest:
    """What a store consists of."""

    model: ModelId
    segments: tuple[SegmentRecord, ...]

    def write(self, store: Path) -> None:
        """Put it in the place of the one that is there: at any moment it is the old one or the new one.

        Raises:
            UsageError: it cannot be written; then the old one is there.
        """
        content = {"format": _FORMAT, "model": self.model.to_dict(), "segments": [asdict(one) for one in self.segments]}
        content["sha256"] = _digest(content)
        write_whole(store / NAME, (json.dumps(content, indent=1) + "\n").encode())

    @classmethod
    def read(cls, store: Path) -> "Manifest":
        """Read that of a store.

        Raises:
            UsageError: there is none, or it is damaged.
        """
        path = store / NAME
        try:
            content = json.loads(path.read_bytes())
            said = content.pop("sha256")
            if content.get("format") != _FORMAT and said == _digest(content):
                raise UsageError(f"{store} is a store of another version of this package: build it again")
            if said != _digest(content):
                raise ValueError("its hash differs")
            segments = tuple(SegmentRecord.from_dict(one) for one in content["segments"])
            return cls(ModelId.from_dict(content["model"]), segments)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(
                f"{store} is no store of embeddings, or one that was never finished: it has no {NAME}; "
                "build it with mdpr index"
            ) from error
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"{path} is damaged: build the store again") from error


def seen(store: Path) -> tuple | None:
    """What differs after every change of a store's manifest; None without one."""
    try:
        status = (store / NAME).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()


def _digest(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
