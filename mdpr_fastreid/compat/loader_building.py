"""What stands between a config and its loaders, and ends in a hang or a bare error in stock, always.

* ``FASTREID_DATASETS`` is read when ``fastreid.data`` is imported; here, when a loader is built.
* A data set that is not on disk is an error that does not say where one is looked for.
* Identity samplers loop for ever without a batch, when there are fewer identities than one batch takes or the
  batch is no multiple of ``DATALOADER.NUM_INSTANCE``; ``SetReWeightSampler`` does so with every batch size.
* The test loader starts four workers, whatever ``DATALOADER.NUM_WORKERS`` says.

Can go when FastReID's loaders check and say these things.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data import build as data_build
from fastreid.data.samplers import (
    BalancedIdentitySampler,
    NaiveIdentitySampler,
    SetReWeightSampler,
)
from fastreid.data.samplers.triplet_sampler import reorder_index
from fastreid.utils import comm
from torch.utils.data import DataLoader

from mdpr_fastreid.compat.byte_batches import send_bytes
from mdpr_fastreid.compat.cpu_loader import PrefetchLoader
from mdpr_fastreid.compat.custom_data import check_command, register_custom
from mdpr_fastreid.compat.damaged_images import watch
from mdpr_fastreid.compat.replacing import replace
from mdpr_fastreid.compat.resized_images import keep_resized
from mdpr_fastreid.errors import UsageError

_TEST_WORKERS = 4


def apply() -> None:
    """Mend the two functions that build loaders and ``SetReWeightSampler``."""
    stock_train, stock_test = (
        data_build.build_reid_train_loader,
        data_build.build_reid_test_loader,
    )

    def build_reid_train_loader(*args: Any, **kwargs: Any) -> DataLoader:
        cfg = _config_in(args, kwargs)
        _check_batch(cfg, "SOLVER")
        names = cfg.DATASETS.NAMES if cfg else ()
        loader = _build(stock_train, cfg, names, args, kwargs)
        watch(loader.dataset, check_command(cfg, names), skip=bool(cfg and cfg.DATALOADER.get("SKIP_DAMAGED", False)))
        if cfg and cfg.DATALOADER.get("CACHE", ""):
            keep_resized(loader.dataset, cfg.DATALOADER.CACHE)
        _check_sampler(loader.batch_sampler)
        return _fitted(loader, cfg)

    def build_reid_test_loader(*args: Any, **kwargs: Any) -> tuple[DataLoader, int]:
        cfg = _config_in(args, kwargs)
        _check_batch(cfg, "TEST")
        build = stock_test if cfg is None else _with_configured_workers(stock_test)
        names = (kwargs.get("dataset_name") or "",)
        loader, num_query = _build(build, cfg, names, args, kwargs)
        watch(loader.dataset, check_command(cfg, names), skip=False)
        return _fitted(loader, cfg), num_query

    replace(data_build, "build_reid_train_loader", build_reid_train_loader)
    replace(data_build, "build_reid_test_loader", build_reid_test_loader)
    SetReWeightSampler._infinite_indices = _set_reweighted_indices


def _config_in(args: tuple, kwargs: dict) -> CfgNode | None:
    first = args[0] if args else kwargs.get("cfg")
    return first if isinstance(first, CfgNode) else None


def _build(stock_build: Callable, cfg: CfgNode | None, names: tuple, args: tuple, kwargs: dict) -> Any:
    data_build._root = root = os.getenv("FASTREID_DATASETS", "datasets")
    register_custom(cfg)
    try:
        return stock_build(*args, **kwargs)
    except (RuntimeError, AssertionError) as error:
        # stock's words for a missing folder, in types of many uses
        if "is not found" not in str(error) and "folder not found" not in str(error):
            raise
        raise UsageError(
            f"data set {', '.join(map(str, names))}: {error}. Data sets are looked for in {os.path.abspath(root)} "
            f"(environment variable FASTREID_DATASETS); `mdpr prepare {' '.join(names)}` says where it comes from"
        ) from error


def _with_configured_workers(stock_test: Callable) -> Callable:
    def build(cfg: CfgNode, **kwargs: Any) -> tuple[DataLoader, int]:
        arguments = data_build._test_loader_from_config(cfg, **kwargs)
        num_workers = min(cfg.DATALOADER.NUM_WORKERS, _TEST_WORKERS)
        return stock_test.__wrapped__(**arguments, num_workers=num_workers)

    return build


def _check_batch(cfg: CfgNode | None, section: str) -> None:
    processes = comm.get_world_size()
    if cfg is not None and processes > cfg[section].IMS_PER_BATCH:
        raise UsageError(f"{section}.IMS_PER_BATCH {cfg[section].IMS_PER_BATCH} is less than {processes} processes")


def _fitted(loader: DataLoader, cfg: CfgNode | None) -> DataLoader:
    send_bytes(loader)
    if cfg is None:
        return loader
    if torch.device(cfg.MODEL.DEVICE).type == "cpu" and not isinstance(loader, PrefetchLoader):
        loader.__class__ = PrefetchLoader  # stock moves batches to the GPU, where the model is not
        loader.pin_memory = False
    if isinstance(loader, PrefetchLoader):
        loader.runs_ahead = cfg.get("SEED", -1) < 0
    return loader


def _check_sampler(batches: torch.utils.data.BatchSampler) -> None:
    """Refuse what would make an identity sampler search for ever."""
    sampler, batch = batches.sampler, batches.batch_size
    if not isinstance(sampler, (BalancedIdentitySampler, NaiveIdentitySampler)):
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
            f"the training set has {sampler.num_identities}"
        )


def _set_reweighted_indices(self: SetReWeightSampler) -> Iterator[int]:
    """Draw ``set_weight[i]`` identities from the i-th set, again and again until a batch is full."""
    np.random.seed(self._seed)
    sets = sorted(self.cam_pid)
    if len(sets) != len(self.set_weight):
        raise UsageError(f"DATALOADER.SET_WEIGHT has {len(self.set_weight)} weights for {len(sets)} sets")
    batch: list[int] = []
    while True:
        drawn = []
        for name, weight in zip(sets, self.set_weight, strict=True):
            pids = np.random.choice(
                len(self.cam_pid[name]),
                size=weight,
                replace=False,
                p=self.set_pid_prob[name],
            )
            for pid in (self.cam_pid[name][i] for i in pids):
                images = self.pid_index[pid]
                too_few = len(images) <= self.num_instances
                drawn += np.random.choice(images, size=self.num_instances, replace=too_few).tolist()
        np.random.shuffle(drawn)
        batch += drawn
        if len(batch) == self.batch_size:
            yield from reorder_index(batch, self._world_size)
            batch = []
