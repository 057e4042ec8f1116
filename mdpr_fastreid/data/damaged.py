"""Training goes on without the images that cannot be read: ``DATALOADER.SKIP_DAMAGED``."""

import logging
from collections import defaultdict
from typing import Any

import torch

logger = logging.getLogger("fastreid.data.damaged")


class Substitutes:
    """Which items of a data set are damaged, and which take their places.

    The next item of the same identity does, in the order of the items: batches keep their identities, and nothing is
    drawn, so a seeded run can be repeated.

    Args:
        items: the data set's; a shared byte for each remembers what any worker has found.
    """

    def __init__(self, items: list[tuple]) -> None:
        self.items = items
        self.damaged = torch.zeros(len(items), dtype=torch.uint8).share_memory_()
        self._of_identity: dict[Any, list[int]] = defaultdict(list)
        for index, item in enumerate(items):
            self._of_identity[item[1]].append(index)

    @property
    def count(self) -> int:
        """How many damaged items have been met."""
        return int(self.damaged.sum())

    def note(self, index: int, error: Exception) -> None:
        """Remember a damaged item, and warn if it is new."""
        if not self.damaged[index]:
            self.damaged[index] = 1
            logger.warning("%s; another image of its identity takes its place. %d damaged so far", error, self.count)

    def candidates(self, index: int) -> list[int]:
        """The item itself and then the others of its identity, less those known to be damaged."""
        indices = self._of_identity[self.items[index][1]]
        start = indices.index(index)
        return [i for i in indices[start:] + indices[:start] if not self.damaged[i]]
