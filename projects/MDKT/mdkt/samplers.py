"""The sampler of both stages: identities in rounds."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from fastreid.config import CfgNode
from fastreid.utils import comm

from mdpr_fastreid.data import SAMPLER_REGISTRY, SeededSampler
from mdpr_fastreid.errors import UsageError


@SAMPLER_REGISTRY.register()
class IdentityRoundSampler(SeededSampler):
    """Batches of P identities with K items each; in a round, every identity is in one batch (VKD, arXiv 2007.04174).

    The order of the identities is drawn anew in every round, whose last ``Y mod P`` identities are left out. An
    identity's K items differ, as far as it has so many; else they are drawn with replacement.

    Args:
        identities: of each item.
        batch: items of all processes together.
        instances: ``K``.
        seed: the same in all processes; by default they agree on one.

    Raises:
        UsageError: a process's batch is no multiple of K, or there are fewer identities than P.
    """

    def __init__(self, identities: Sequence[object], batch: int, instances: int, seed: int | None = None):
        self.processes = comm.get_world_size()
        self.of_process = batch // self.processes
        self.instances = instances
        self.items = defaultdict(list)
        for index, identity in enumerate(identities):
            self.items[identity].append(index)
        if self.of_process % instances:
            raise UsageError(
                f"a batch of {self.of_process} items a process (SOLVER.IMS_PER_BATCH) is no multiple of "
                f"DATALOADER.NUM_INSTANCE {instances}"
            )
        self.identities_of_batch = self.of_process // instances * self.processes
        if len(self.items) < self.identities_of_batch:
            raise UsageError(
                f"a batch takes {self.identities_of_batch} identities (SOLVER.IMS_PER_BATCH / DATALOADER.NUM_INSTANCE),"
                f" the training set has {len(self.items)}: lower SOLVER.IMS_PER_BATCH, or raise NUM_INSTANCE"
            )
        super().__init__(seed)

    @classmethod
    def from_config(cls, cfg: CfgNode, items: Sequence[tuple]) -> "IdentityRoundSampler":
        return cls([item[1] for item in items], cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE)

    def stream(self, random: np.random.Generator) -> Iterator[int]:
        """Indices without end; each process takes every n-th of them."""
        names, size = list(self.items), self.identities_of_batch
        while True:
            order = random.permutation(len(names))
            for first in range(0, len(names) - size + 1, size):
                batch = [self._drawn(random, names[place]) for place in order[first : first + size]]
                # Every n-th index is a process's: so that each has whole identities
                yield from np.concatenate(batch).reshape(self.processes, self.of_process).T.ravel().tolist()

    def _drawn(self, random: np.random.Generator, identity: object) -> np.ndarray:
        items = self.items[identity]
        return random.choice(items, self.instances, replace=len(items) < self.instances)
