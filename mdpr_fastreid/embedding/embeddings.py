"""Embeddings of images with what is known of them, and the file that holds them."""

import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mdpr_fastreid.embedding.model_id import ModelId
from mdpr_fastreid.errors import UsageError, printable
from mdpr_fastreid.io import need_place, write_whole

_VERSION = 1
_ARRAYS = {"vectors": "f", "names": "U", "cameras": "U", "times": "f", "identities": "U", "about": "U"}
"""What the file holds, by kind of type; ``about`` is JSON."""
KNOWN = ("names", "cameras", "times", "identities")
"""What is known of each image."""


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of ``N`` images.

    Args:
        vectors: float32 ``[N, D]``, as the model gives them, not normalised.
        names: text ``[N]``: paths relative to ``root`` with ``/``, each once.
        cameras: text ``[N]``; "" where it is not known.
        times: float64 ``[N]``, seconds since 1970; NaN where it is not known.
        identities: text ``[N]``; "" where it is not known.
        model: whose embeddings they are.
        root: the folder that the names are relative to, absolute.
    """

    vectors: np.ndarray
    names: np.ndarray
    cameras: np.ndarray
    times: np.ndarray
    identities: np.ndarray
    model: ModelId
    root: str = ""

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.dtype != np.float32:
            raise UsageError(f"vectors must be float32 [N, D], got {self.vectors.dtype} {list(self.vectors.shape)}")
        if self.vectors.shape[1] != self.model.dim:
            raise UsageError(f"vectors are {self.vectors.shape[1]} long, and those of their model {self.model.dim}")
        for name in KNOWN:
            if getattr(self, name).shape != (len(self.vectors),):
                raise UsageError(f"{name} must be one for each of {len(self.vectors)} vectors")

    def __len__(self) -> int:
        return len(self.vectors)

    def path(self, row: int) -> str:
        """The file of an image."""
        return os.path.join(self.root, self.names[row])

    def rows(self, chosen: slice | np.ndarray | Sequence[int]) -> "Embeddings":
        """Some of them, by indices, a mask or a slice."""
        known = {name: getattr(self, name)[chosen] for name in KNOWN}
        return Embeddings(self.vectors[chosen], **known, model=self.model, root=self.root)

    def write(self, path: Path | str) -> None:
        """Write them as an ``.npz`` file of arrays, whole or not at all.

        Raises:
            UsageError: the place cannot be written.
        """
        write_embeddings(path, self, [self.vectors])

    @classmethod
    def read(cls, path: Path | str) -> "Embeddings":
        """Read what :meth:`write` wrote; no code in it is run, and the checksums of its arrays are compared.

        Raises:
            UsageError: there is no such file, it is damaged, or is no file of embeddings.
        """
        path = Path(path)
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "no such file of embeddings; `mdpr embed` writes one"
            raise UsageError(f"{path}: {what}")
        arrays = _arrays(path)
        try:
            about = json.loads(str(arrays.pop("about")))
            version = about["version"]
            model, root = ModelId.from_dict(about["model"]), str(about["root"])
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise UsageError(f"{path}: is no file of embeddings: {error}") from None
        if version != _VERSION:
            raise UsageError(f"{path}: is of version {printable(str(version))}, and this package reads {_VERSION}")
        try:
            made = cls(**arrays, model=model, root=root)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
        made._check_content(path)
        return made

    def _check_content(self, path: Path) -> None:
        if len(np.unique(self.names)) != len(self):
            raise UsageError(f"{path}: a name stands in it twice")
        finite = np.isfinite(self.vectors.sum(axis=1, dtype=np.float64))
        if not finite.all():
            raise UsageError(f"{path}: the vector of {self.names[(~finite).argmax()]} has NaN or infinite values")


def write_embeddings(path: Path | str, about: Embeddings, vectors: Iterable[np.ndarray]) -> None:
    """Write embeddings whose vectors come a part at a time, so that they need not all be in memory.

    Args:
        path: the ``.npz`` file.
        about: all but the vectors, which it may have as a view that takes no memory.
        vectors: float32 ``[n, D]`` each, in order.

    Raises:
        UsageError: the place cannot be written.
    """
    need_place(Path(path))
    content = {"version": _VERSION, "model": about.model.to_dict(), "root": about.root}
    small = {name: getattr(about, name) for name in KNOWN}
    small["about"] = np.array(json.dumps(content))
    header = {"descr": "<f4", "fortran_order": False, "shape": about.vectors.shape}

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, array in small.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            with archive.open("vectors.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_2_0(member, header)
                for part in vectors:
                    member.write(np.ascontiguousarray(part, "<f4").data)

    write_whole(path, write)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    damaged = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no archive of arrays, or not all of one")
        with np.load(path, allow_pickle=False) as file:
            if missing := [name for name in _ARRAYS if name not in file.files]:
                raise UsageError(f"{path}: has no {missing[0]}, so it is no file of `mdpr embed`")
            arrays = {name: file[name] for name in _ARRAYS}
    except damaged as error:
        raise UsageError(f"{path}: is damaged or no file of embeddings ({type(error).__name__}: {error})") from None
    for name, kind in _ARRAYS.items():
        if arrays[name].dtype.kind != kind:
            raise UsageError(f"{path}: {name} are {arrays[name].dtype}, so it is no file of `mdpr embed`")
    return arrays
