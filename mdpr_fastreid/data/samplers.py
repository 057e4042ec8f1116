"""Which images stand in a batch: samplers by name, for ``DATALOADER.SAMPLER_TRAIN``.

A sampler is a class in :data:`SAMPLER_REGISTRY` with

* ``from_config(cfg, items)``, a class method that returns one. ``items`` are all training items; a process's batch
  is the next ``SOLVER.IMS_PER_BATCH / processes`` indices.
* ``__iter__``, which yields indices of items without end. All processes draw the same stream from ``self.seed``, and
  process ``rank`` takes every ``processes``-th index of it, from its own on. Drawn is in the first ``next`` and later,
  never in the constructor, and from the seed alone: a new iterator repeats the stream.
* ``reseed(seed)``, called before every epoch of a run with ``SEED``, before its iterator is made.

:class:`SeededSampler` implements all of this but ``from_config`` and ``stream``. The five names of FastReID are here,
as its classes with what makes them keep that contract.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data import samplers as stock
from fastreid.data.samplers.triplet_sampler import reorder_index
from fastreid.utils import comm
from fastreid.utils.registry import Registry
from torch.utils.data import Sampler

from mdpr_fastreid.config.names import registered
from mdpr_fastreid.errors import UsageError

SAMPLER_REGISTRY = Registry("SAMPLER")
"""Samplers by the names of their classes."""


class SeededSampler(Sampler):
    """A sampler of one's own: implement ``from_config`` and ``stream``.

    Args:
        seed: the same in all processes; by default they agree on one.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = comm.shared_random_seed() if seed is None else seed

    def reseed(self, seed: int) -> None:
        """Draw from another seed when the next iterator is made."""
        self.seed = seed

    def stream(self, random: np.random.Generator) -> Iterator[int]:
        """Indices without end, for all processes together: each takes every n-th of them.

        Args:
            random: the only source of random numbers.
        """
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        stream = self.stream(np.random.default_rng(self.seed))
        return itertools.islice(stream, comm.get_rank(), None, comm.get_world_size())


class _Reseeded:
    """FastReID's samplers read ``_seed`` whenever an iterator starts."""

    def reseed(self, seed: int) -> None:
        """Draw from another seed when the next iterator is made."""
        self._seed = seed


class _OfIdentities(_Reseeded):
    """A sampler of ``DATALOADER.NUM_INSTANCE`` images of each identity in a batch."""

    @classmethod
    def from_config(cls, cfg: CfgNode, items: Sequence[tuple]) -> "Sampler":
        # BalancedIdentitySampler unpacks three parts of an item
        sampler = cls([tuple(item[:3]) for item in items], *_batch(cfg), **cls.options(cfg))
        check_identities(sampler, _batch(cfg)[0])
        return sampler

    @classmethod
    def options(cls, cfg: CfgNode) -> dict[str, Any]:
        return {}


@SAMPLER_REGISTRY.register()
class TrainingSampler(_Reseeded, stock.TrainingSampler):
    """All images in random order, again and again."""

    @classmethod
    def from_config(cls, cfg: CfgNode, items: Sequence[tuple]) -> "TrainingSampler":
        return cls(len(items))


@SAMPLER_REGISTRY.register()
class ImbalancedDatasetSampler(_Reseeded, stock.ImbalancedDatasetSampler):
    """Each identity equally often, whatever the number of its images."""

    @classmethod
    def from_config(cls, cfg: CfgNode, items: Sequence[tuple]) -> "ImbalancedDatasetSampler":
        return cls(items)

    def _infinite_indices(self) -> Iterator[int]:
        # Stock's draws from torch's own generator, which differs between processes, and not from the seed
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            yield from torch.multinomial(self.weights, self._size, replacement=True, generator=generator).tolist()


@SAMPLER_REGISTRY.register()
class NaiveIdentitySampler(_OfIdentities, stock.NaiveIdentitySampler):
    """Identities in random order, ``NUM_INSTANCE`` images of each, until few images are left."""


@SAMPLER_REGISTRY.register()
class BalancedIdentitySampler(_OfIdentities, stock.BalancedIdentitySampler):
    """Identities in random order, ``NUM_INSTANCE`` images of each, of several cameras where there are several."""


@SAMPLER_REGISTRY.register()
class SetReWeightSampler(_OfIdentities, stock.SetReWeightSampler):
    """``DATALOADER.SET_WEIGHT[i]`` identities of the i-th set, again and again until a batch is full.

    Stock's loop is without end for every batch size: it wants a full batch and more than one round for it.
    """

    @classmethod
    def options(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"set_weight": cfg.DATALOADER.SET_WEIGHT}

    def _infinite_indices(self) -> Iterator[int]:
        np.random.seed(self._seed)
        sets = sorted(self.cam_pid)
        if len(sets) != len(self.set_weight):
            raise UsageError(f"DATALOADER.SET_WEIGHT has {len(self.set_weight)} weights for {len(sets)} sets")
        batch: list[int] = []
        while True:
            drawn = []
            for name, weight in zip(sets, self.set_weight, strict=True):
                pids = np.random.choice(len(self.cam_pid[name]), size=weight, replace=False, p=self.set_pid_prob[name])
                for pid in (self.cam_pid[name][i] for i in pids):
                    images = self.pid_index[pid]
                    too_few = len(images) <= self.num_instances
                    drawn += np.random.choice(images, size=self.num_instances, replace=too_few).tolist()
            np.random.shuffle(drawn)
            batch += drawn
            if len(batch) == self.batch_size:
                yield from reorder_index(batch, self._world_size)
                batch = []


def build_sampler(cfg: CfgNode, items: Sequence[tuple]) -> Sampler:
    """The sampler that ``DATALOADER.SAMPLER_TRAIN`` names.

    Raises:
        UsageError: no such name, or items and batch size with which the sampler would never fill a batch.
    """
    return registered(SAMPLER_REGISTRY, cfg.DATALOADER.SAMPLER_TRAIN).from_config(cfg, items)


def check_identities(sampler: Sampler, batch: int) -> None:
    """Refuse what would make one of FastReID's identity samplers search for ever.

    Args:
        sampler: any.
        batch: images a process and batch.

    Raises:
        UsageError: there are fewer identities than a batch takes, or the batch is no multiple of NUM_INSTANCE.
    """
    if not isinstance(sampler, (stock.BalancedIdentitySampler, stock.NaiveIdentitySampler)):
        return
    if batch % sampler.num_instances:
        raise UsageError(
            f"a batch of {batch} images a process (SOLVER.IMS_PER_BATCH) is no multiple of "
            f"DATALOADER.NUM_INSTANCE {sampler.num_instances}"
        )
    needed = sampler.num_pids_per_batch * comm.get_world_size()
    if sampler.num_identities < needed:
        raise UsageError(
            f"a batch takes {needed} identities (SOLVER.IMS_PER_BATCH / DATALOADER.NUM_INSTANCE), "
            f"the training set has {sampler.num_identities}: lower SOLVER.IMS_PER_BATCH, or raise NUM_INSTANCE"
        )


def reseed(sampler: Any, seed: int, epoch: int) -> None:
    """Have a sampler draw from a seed of its own in each epoch, as far as it can.

    Args:
        sampler: one of ours, of FastReID's or of torch's; any other stays as it is.
        seed: of this epoch; the same in all processes.
        epoch: for samplers that know epochs only, as torch's ``DistributedSampler`` does.
    """
    if hasattr(sampler, "reseed"):
        sampler.reseed(seed)
    elif isinstance(sampler, _STOCK):  # a project gave one of FastReID's own, which has no other way
        sampler._seed = seed
    elif hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)


_STOCK = (
    stock.TrainingSampler,
    stock.ImbalancedDatasetSampler,
    stock.NaiveIdentitySampler,
    stock.BalancedIdentitySampler,
    stock.SetReWeightSampler,
)


def _batch(cfg: CfgNode) -> tuple[int, int]:
    return cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(), cfg.DATALOADER.NUM_INSTANCE
