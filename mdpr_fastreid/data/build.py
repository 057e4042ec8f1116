"""The two loaders of a config: what a trainer's ``build_train_loader`` and ``build_test_loader`` return."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.data.samplers import InferenceSampler
from fastreid.utils import comm
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from mdpr_fastreid.data.cameras import camera_count, check_test_cameras, number_as_tested
from mdpr_fastreid.data.custom.naming import check_command, data_root, dataset_class
from mdpr_fastreid.data.loaders import CudaLoader, PrefetchLoader
from mdpr_fastreid.data.masks.of_sets import training_items_with_masks, with_masks
from mdpr_fastreid.data.pipeline import FieldDataset, collate, send_bytes
from mdpr_fastreid.data.resized import ResizedImages
from mdpr_fastreid.data.samplers import build_sampler, check_identities
from mdpr_fastreid.data.transforms import JointTransforms, build_transforms
from mdpr_fastreid.errors import UsageError

logger = logging.getLogger("fastreid.data.build")

_TEST_WORKERS = 4


def build_train_loader(cfg: CfgNode, *, train_set: Dataset | None = None, sampler: Sampler | None = None) -> DataLoader:
    """An endless loader of training batches.

    Args:
        cfg: a config with the plugin's keys.
        train_set: instead of the items of ``DATASETS.NAMES``: a :func:`training_set` of a project's own items, or any
            data set of dicts, with ``img_items`` if ``DATALOADER.SAMPLER_TRAIN`` is to draw from it.
        sampler: of indices of the training set, instead of the one that ``DATALOADER.SAMPLER_TRAIN`` names.

    Returns:
        A loader of dicts: ``images`` ``[B, 3, H, W]``, ``targets`` ``[B]``, ``camids`` ``[B]``, ``img_paths``, and the
        key of each of ``INPUT.FIELDS``. Its data set has ``img_items``, ``num_classes`` and ``num_cameras``.

    Raises:
        UsageError: the data or the settings are not such that one can train on them; the message says why.
    """
    batch = _images_a_process(cfg, "SOLVER")
    if train_set is None:
        train_set = training_set(cfg, _training_items(cfg))
    if sampler is None:
        logger.info(f"Using training sampler {cfg.DATALOADER.SAMPLER_TRAIN}")
        sampler = build_sampler(cfg, train_set.img_items)
    check_identities(sampler, batch)
    return _loader(cfg, train_set, BatchSampler(sampler, batch, drop_last=True), cfg.DATALOADER.NUM_WORKERS)


def build_test_loader(
    cfg: CfgNode, dataset_name: str | None = None, *, test_set: Dataset | None = None, num_query: int = 0
) -> tuple[DataLoader, int]:
    """A loader of a test set's images, queries first, each process its part.

    Args:
        cfg: a config with the plugin's keys.
        dataset_name: of a registered data set.
        test_set: instead of one by name: a data set of dicts.
        num_query: how many of its images are queries.

    Returns:
        The loader, of dicts as those of :func:`build_train_loader`, and the number of queries.

    Raises:
        UsageError: the data set is not there or cannot be tested on.
    """
    batch = _images_a_process(cfg, "TEST")
    if test_set is None:
        with _located((dataset_name,)) as root:
            data = dataset_class(cfg, dataset_name)(root=root)
            if comm.is_main_process():
                data.show_test()
        num_query = len(data.query)
        if cameras := camera_count(cfg):
            check_test_cameras(dataset_name, data.query + data.gallery, cameras)
        test_set = FieldDataset(
            with_masks(cfg, data, data.query + data.gallery),
            build_transforms(cfg, is_train=False),
            relabel=False,
            check_command=check_command(cfg, (dataset_name,)),
        )
    batches = BatchSampler(InferenceSampler(len(test_set)), batch, drop_last=False)
    workers = min(cfg.DATALOADER.NUM_WORKERS, _TEST_WORKERS)
    return _loader(cfg, test_set, batches, workers), num_query


def training_set(cfg: CfgNode, items: list[tuple], transforms: JointTransforms | None = None) -> FieldDataset:
    """The data set of training items, as the config has them read.

    Args:
        cfg: a config with the plugin's keys.
        items: ``(path, identity, camera)``, or :class:`~mdpr_fastreid.data.items.Item` with the files of fields.
        transforms: instead of those of the config; resized images (``DATALOADER.CACHE``) are then this process's own.

    Raises:
        UsageError: the transforms do not go with the fields, the resized images cannot be kept, or the model tells
            cameras apart that cannot be.
    """
    made = FieldDataset(
        items,
        transforms or build_transforms(cfg, is_train=True),
        skip_damaged=cfg.DATALOADER.get("SKIP_DAMAGED", False),
        check_command=check_command(cfg, cfg.DATASETS.NAMES),
    )
    if cfg.DATALOADER.get("CACHE", ""):
        made.resized = _resized(cfg, made.img_items, shared=transforms is None)
    if cameras := camera_count(cfg):
        number_as_tested(made, cameras)
    return made


def _training_items(cfg: CfgNode) -> list[tuple]:
    items: list[tuple] = []
    with _located(cfg.DATASETS.NAMES) as root:
        for name in cfg.DATASETS.NAMES:
            data = dataset_class(cfg, name)(root=root, combineall=cfg.DATASETS.COMBINEALL)
            if comm.is_main_process():
                data.show_train()
            items += training_items_with_masks(cfg, name, data)
    return items


@contextmanager
def _located(names: Sequence[str]) -> Iterator[str]:
    """The data root; an error for a set that is not there says where it was looked for."""
    root = data_root()
    try:
        yield root
    except (RuntimeError, AssertionError) as error:
        # FastReID's words for a missing folder, in types of many uses
        if "is not found" not in str(error) and "folder not found" not in str(error):
            raise
        raise UsageError(
            f"data set {', '.join(map(str, names))}: {error}. Data sets are looked for in {os.path.abspath(root)} "
            f"(environment variable FASTREID_DATASETS); `mdpr prepare {' '.join(names)}` says where it comes from"
        ) from error


def _images_a_process(cfg: CfgNode, section: str) -> int:
    processes, images = comm.get_world_size(), cfg[section].IMS_PER_BATCH
    if processes > images:
        raise UsageError(f"{section}.IMS_PER_BATCH {images} is less than {processes} processes")
    return images // processes


def _resized(cfg: CfgNode, items: list[tuple], shared: bool) -> ResizedImages:
    size = cfg.INPUT.SIZE_TRAIN
    if cfg.INPUT.AUTOAUG.ENABLED or size[0] <= 0 or len(size) != 2:
        raise UsageError(
            "DATALOADER.CACHE keeps the resized images, and here images are not resized to one size first of all "
            '(INPUT.AUTOAUG.ENABLED, INPUT.SIZE_TRAIN): leave it at ""'
        )
    return ResizedImages(cfg.DATALOADER.CACHE, [item[0] for item in items], size, shared=shared)


def _loader(cfg: CfgNode, dataset: Dataset, batches: BatchSampler, workers: int) -> PrefetchLoader:
    options: dict[str, Any] = {
        "dataset": dataset,
        "batch_sampler": batches,
        "num_workers": workers,
        "collate_fn": collate,
    }
    if isinstance(dataset, FieldDataset) and workers:
        options |= {"worker_init_fn": send_bytes, "finish": dataset.to_floats}
    if torch.device(cfg.MODEL.DEVICE).type == "cuda" and torch.cuda.is_available():
        return CudaLoader(torch.device("cuda", comm.get_local_rank()), **options)
    return PrefetchLoader(**options, runs_ahead=cfg.get("SEED", -1) < 0)
