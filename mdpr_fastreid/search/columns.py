"""What is known of the images of a segment beside their vectors: names, cameras, times and identities, in columns."""

import hashlib
import zipfile
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

# Names of files that are no text in the system's encoding have surrogates in Python
_ENCODING = "utf-8", "surrogatepass"


class Texts:
    """Texts in two arrays, which for a million names are a tenth of what Python's strings are.

    Args:
        letters: ``[B]`` uint8, all texts in UTF-8, one after the other.
        ends: ``[N]`` int64, where each ends in it.
    """

    def __init__(self, letters: np.ndarray, ends: np.ndarray) -> None:
        self.letters, self.ends = letters, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """Texts of strings."""
        encoded = [str(text).encode(*_ENCODING) for text in texts]
        ends = np.cumsum([len(one) for one in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> str:
        start = int(self.ends[row - 1]) if row else 0
        return self.letters[start : int(self.ends[row])].tobytes().decode(*_ENCODING)

    def __iter__(self):
        return (self[row] for row in range(len(self)))


@dataclass(frozen=True)
class Columns:
    """Rows of a segment, in columns of ``N``."""

    names: Texts
    cameras: list[str]
    camera_codes: np.ndarray
    """``[N]`` int32, positions in :attr:`cameras`."""
    identities: list[str]
    identity_codes: np.ndarray
    """``[N]`` int32, positions in :attr:`identities`."""
    times: np.ndarray
    """``[N]`` float64, NaN where it is not known."""
    roots: list[str]
    root_codes: np.ndarray
    """``[N]`` int32, positions in :attr:`roots`: the folders that names are relative to."""
    keys: np.ndarray
    """``[N]`` uint64, hashes of the names, sorted."""
    key_rows: np.ndarray
    """``[N]`` int32, the row of each key."""

    @classmethod
    def of(
        cls,
        names: Iterable[str],
        cameras: Iterable[str],
        identities: Iterable[str],
        times: Iterable[float],
        roots: Iterable,
    ) -> "Columns":
        """Columns of ``N`` values each."""
        gathered = Gathered()
        gathered.add(names, cameras, identities, times, roots)
        return gathered.columns()

    def __len__(self) -> int:
        return len(self.names)

    def find(self, names: Sequence[str]) -> np.ndarray:
        """The row of each name, ``[n]`` int64; -1 for one that is not here."""
        keys = np.fromiter(map(_key, names), dtype=np.uint64, count=len(names))
        rows = np.full(len(names), -1, dtype=np.int64)
        for number, (name, at) in enumerate(zip(names, np.searchsorted(self.keys, keys), strict=True)):
            while at < len(self.keys) and self.keys[at] == keys[number]:
                if self.names[int(self.key_rows[at])] == name:
                    rows[number] = self.key_rows[at]
                    break
                at += 1
        return rows

    def first_repeated(self) -> str | None:
        """A name that is there twice."""
        for at in np.flatnonzero(self.keys[1:] == self.keys[:-1]):
            names = [self.names[int(row)] for row in self.key_rows[self.keys == self.keys[at]]]
            if len(set(names)) < len(names):
                return next(name for name in names if names.count(name) > 1)
        return None

    def write(self, file: BinaryIO) -> None:
        """Write them as an ``.npz``."""
        names, cameras, identities, roots = (
            texts if isinstance(texts, Texts) else Texts.of(texts)
            for texts in (self.names, self.cameras, self.identities, self.roots)
        )
        np.savez(
            file,
            name_letters=names.letters,
            name_ends=names.ends,
            camera_letters=cameras.letters,
            camera_ends=cameras.ends,
            camera_codes=self.camera_codes,
            identity_letters=identities.letters,
            identity_ends=identities.ends,
            identity_codes=self.identity_codes,
            root_letters=roots.letters,
            root_ends=roots.ends,
            root_codes=self.root_codes,
            times=self.times,
            keys=self.keys,
            key_rows=self.key_rows,
        )

    @classmethod
    def read(cls, file: BinaryIO) -> "Columns":
        """Read what :meth:`write` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            with np.load(file) as arrays:
                found = {name: arrays[name] for name in arrays.files}
            texts = {
                name: Texts(found[f"{name}_letters"], found[f"{name}_ends"])
                for name in ("name", "camera", "identity", "root")
            }
            return cls(
                texts["name"],
                list(texts["camera"]),
                found["camera_codes"],
                list(texts["identity"]),
                found["identity_codes"],
                found["times"],
                list(texts["root"]),
                found["root_codes"],
                found["keys"],
                found["key_rows"],
            )
        except (KeyError, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(str(error)) from error

    def memory(self) -> int:
        """Bytes of the columns."""
        arrays = (self.names.letters, self.names.ends, self.camera_codes, self.identity_codes, self.times)
        return sum(array.nbytes for array in (*arrays, self.root_codes, self.keys, self.key_rows))


class Gathered:
    """Columns that grow, in a fraction of what lists of strings would take."""

    def __init__(self) -> None:
        self._letters, self._ends, self._keys, self._times = bytearray(), array("q"), array("Q"), array("d")
        self._codes = [array("i") for _ in range(3)]
        self._positions: list[dict[str, int]] = [{} for _ in range(3)]

    def add(
        self,
        names: Iterable[str],
        cameras: Iterable[str],
        identities: Iterable[str],
        times: Iterable[float],
        roots: Iterable[str],
    ) -> None:
        """Add rows: a value of each."""
        for name in names:
            self._letters += str(name).encode(*_ENCODING)
            self._ends.append(len(self._letters))
            self._keys.append(_key(name))
        self._times.extend(map(float, times))
        for codes, positions, values in zip(self._codes, self._positions, (cameras, identities, roots), strict=True):
            codes.extend(positions.setdefault(str(value), len(positions)) for value in values)

    def columns(self) -> Columns:
        """What was added; nothing can be added after that."""
        keys = np.frombuffer(self._keys, dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        coded = [
            part
            for codes, positions in zip(self._codes, self._positions, strict=True)
            for part in (list(positions), np.frombuffer(codes, dtype=np.int32))
        ]
        names = Texts(np.frombuffer(self._letters, dtype=np.uint8), np.frombuffer(self._ends, dtype=np.int64))
        times = np.frombuffer(self._times, dtype=np.float64)
        return Columns(names, *coded[:4], times, *coded[4:], keys[order], order.astype(np.int32))


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(*_ENCODING), digest_size=8).digest(), "little")


def coded(values: Iterable[str]) -> tuple[list[str], np.ndarray]:
    """The different values, and the position of each value among these, ``[N]`` int32."""
    positions: dict[str, int] = {}
    codes = [positions.setdefault(str(value), len(positions)) for value in values]
    return list(positions), np.asarray(codes, dtype=np.int32)
