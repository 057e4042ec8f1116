"""Training goes on without what cannot be read: ``DATALOADER.SKIP_DAMAGED``."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch

from mdpr_fastreid.errors import printable

logger = logging.getLogger("fastreid.data.damaged")


class _Found:
    """Which of so many things are damaged: a shared byte for each remembers what any worker has found."""

    def __init__(self, size: int) -> None:
        self._damaged = torch.zeros(size, dtype=torch.uint8).share_memory_()

    @property
    def count(self) -> int:
        """How many have been met."""
        return int(self._damaged.sum())

    def __contains__(self, number: int) -> bool:
        return bool(self._damaged[number])

    def note(self, number: int, line: str) -> None:
        """Remember one, and warn if it is new."""
        if number not in self:
            self._damaged[number] = 1
            logger.warning("%s. %d damaged so far", printable(line), self.count)


class Substitutes:
    """Which items of a data set are damaged, and which take their places.

    The next item of the same identity does, in the order of the items: batches keep their identities, and nothing is
    drawn, so a seeded run can be repeated.

    Args:
        items: the data set's.
    """

    def __init__(self, items: list[tuple]) -> None:
        self.items = items
        self._found = _Found(len(items))
        self._of_identity: dict[Any, list[int]] = defaultdict(list)
        for index, item in enumerate(items):
            self._of_identity[item[1]].append(index)

    @property
    def count(self) -> int:
        """How many damaged items have been met."""
        return self._found.count

    def note(self, index: int, error: Exception) -> None:
        """Remember a damaged item, and warn if it is new."""
        self._found.note(index, f"{error}; another image of its identity takes its place")

    def candidates(self, index: int) -> list[int]:
        """The item itself and then the others of its identity, less those known to be damaged."""
        indices = self._of_identity[self.items[index][1]]
        start = indices.index(index)
        return [i for i in indices[start:] + indices[:start] if i not in self._found]


class DamagedFiles:
    """Which files of a data set are damaged.

    Args:
        paths: of all files that may be read.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._numbers = {path: number for number, path in enumerate(dict.fromkeys(paths))}
        self._found = _Found(len(self._numbers))

    @property
    def count(self) -> int:
        """How many damaged files have been met."""
        return self._found.count

    def __contains__(self, path: str) -> bool:
        return self._numbers[path] in self._found

    def __len__(self) -> int:
        return len(self._numbers)

    def note(self, path: str, line: str) -> None:
        """Remember a damaged file, and warn by this line if it is new."""
        self._found.note(self._numbers[path], line)
