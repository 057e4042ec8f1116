"""Batches from workers that compute on bytes are, bit for bit, those of stock's transforms on floats."""

import random
from functools import partial

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from fastreid.data import build_reid_train_loader
from fastreid.data.common import CommDataset
from fastreid.data.transforms import build_transforms
from fastreid.data.transforms.transforms import RandomPatch
from small_runs import small_config
from torch.utils.data import SequentialSampler

from mdpr_fastreid.bench.loader import in_setting
from mdpr_fastreid.compat import byte_batches
from tests.support.image_trees import pictures_of_all_sizes

EVERYTHING = ["INPUT.SIZE_TRAIN", [48, 32], "INPUT.PADDING.ENABLED", True, "INPUT.AFFINE.ENABLED", True]
EVERYTHING += ["INPUT.CJ.ENABLED", True, "INPUT.AUTOAUG.ENABLED", True, "INPUT.AUTOAUG.PROB", 0.5]
ERASING = ["INPUT.REA.ENABLED", True, "INPUT.REA.PROB", 0.7]
PATCHING = ["INPUT.RPT.ENABLED", True]


@pytest.fixture
def items(tmp_path):
    return pictures_of_all_sizes(tmp_path, 24)


def epochs(items, cfg, setting, workers=1, patches=3):
    """Two epochs' batches from one seed, with random patch pasting from the third image on."""
    with in_setting(setting):
        dataset = CommDataset(items, build_transforms(cfg), relabel=True)
        for step in dataset.transform.transforms:
            if isinstance(step, RandomPatch):
                step.min_sample_size = patches
        sampler = SequentialSampler(dataset)
        loader = build_reid_train_loader(cfg, train_set=dataset, sampler=sampler)
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        return loader, [batch for _ in range(2) for batch in loader]


MEAN = [123.675, 116.28, 103.53]


@pytest.mark.parametrize(
    ("options", "fill"),
    [
        pytest.param(ERASING + PATCHING, MEAN, id="erased and patched"),
        pytest.param(ERASING + PATCHING, [0, 0, 0], id="erased to black"),
        pytest.param(ERASING + PATCHING, [7, 0.5, 255.0], id="erased to whole numbers and others"),
        pytest.param(ERASING, MEAN, id="erased"),
        pytest.param(PATCHING, MEAN, id="patched"),
        pytest.param([], MEAN, id="neither"),
    ],
)
def test_batches_are_stocks(tmp_path, items, options, fill):
    settings = ["DATALOADER.NUM_WORKERS", 1, "SOLVER.IMS_PER_BATCH", 8, "INPUT.REA.VALUE", fill, *EVERYTHING, *options]
    cfg = small_config(tmp_path, *settings)
    stock, expected = epochs(items, cfg, "reference")
    ours, actual = epochs(items, cfg, "ours")
    assert ours.worker_init_fn is not None
    assert stock.worker_init_fn is None
    for theirs, batch in zip(expected, actual, strict=True):
        assert batch["images"].dtype == torch.float32
        assert batch["images"].is_contiguous()
        assert torch.equal(theirs["images"], batch["images"])
        assert {key: value for key, value in theirs.items() if isinstance(value, list)} == {
            key: value for key, value in batch.items() if isinstance(value, list)
        }
        assert torch.equal(theirs["targets"], batch["targets"])
    everything = torch.cat([batch["images"] for batch in expected])
    if options[:4] == ERASING:
        assert (everything[:, 0] == torch.tensor(fill[0])).float().mean() > 0.02, "something was erased"


def test_what_was_cut_out_before_the_workers_start_is_pasted_by_them(tmp_path, items):
    cfg = small_config(
        tmp_path, "DATALOADER.NUM_WORKERS", 1, "SOLVER.IMS_PER_BATCH", 8, *EVERYTHING, *ERASING, *PATCHING
    )

    def first_batch(setting):
        with in_setting(setting):
            dataset = CommDataset(items, build_transforms(cfg), relabel=True)
            dataset.transform.transforms[-1].min_sample_size = 3
            loader = build_reid_train_loader(cfg, train_set=dataset, sampler=SequentialSampler(dataset))
            random.seed(2)
            np.random.seed(2)
            torch.manual_seed(2)
            for index in range(len(dataset)):
                assert dataset[index]["images"].dtype == torch.float32, "outside the workers nothing changes"
            return next(iter(loader))["images"]

    assert torch.equal(first_batch("reference"), first_batch("ours"))


class _Twice(CommDataset):
    def __getitem__(self, index):
        item = super().__getitem__(index)
        return {**item, "images": item["images"] * 0.5}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (CommDataset, ["INPUT.AUGMIX.ENABLED", True]),
        (_Twice, []),
    ],
)
def test_what_bytes_cannot_say_stays_in_floats(tmp_path, items, kind, options):
    cfg = small_config(tmp_path, "DATALOADER.NUM_WORKERS", 1, "SOLVER.IMS_PER_BATCH", 8, *options)
    dataset = kind(items, build_transforms(cfg), relabel=True)
    loader = build_reid_train_loader(cfg, train_set=dataset, sampler=SequentialSampler(dataset))
    assert loader.worker_init_fn is None
    assert next(iter(loader))["images"].dtype == torch.float32


@pytest.mark.parametrize("value", [0, "random", [1.0]])
def test_only_three_numbers_stand_for_what_is_erased(items, value):
    steps = build_transforms(small_config(""), is_train=False).transforms
    assert byte_batches.on_bytes(CommDataset(items, T.Compose(steps))) is not None
    assert byte_batches.on_bytes(CommDataset(items, T.Compose([*steps, T.RandomErasing(value=value)]))) is None
    assert byte_batches.on_bytes(CommDataset(items, T.Compose([*steps, torch.sqrt]))) is None


def test_the_gpus_loader_makes_floats_of_what_it_has_moved_and_leaves_other_batches_alone():
    coded = torch.tensor([[[[5, 6]], [[7, 8]], [[9, 10]], [[0, 1]]]], dtype=torch.uint8)

    class Loader:
        __next__ = byte_batches._next_in_floats(lambda self: {"images": coded, "targets": 3})

    loader = Loader()
    assert next(loader)["images"] is coded
    loader.finish = partial(byte_batches.in_floats, fill=[0.5, 1.5, 2.5])
    batch = next(loader)
    assert batch["targets"] == 3
    assert batch["images"].tolist() == [[[[5.0, 0.5]], [[7.0, 1.5]], [[9.0, 2.5]]]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_bytes_are_moved_and_become_the_same_floats_there(tmp_path, items):
    options = ["DATALOADER.NUM_WORKERS", 1, "SOLVER.IMS_PER_BATCH", 8, *EVERYTHING, *ERASING, *PATCHING]
    cfg = small_config(tmp_path, *options, "MODEL.DEVICE", "cuda")
    _, expected = epochs(items, cfg, "reference")
    _, actual = epochs(items, cfg, "ours")
    for theirs, batch in zip(expected, actual, strict=True):
        assert batch["images"].is_cuda
        assert torch.equal(theirs["images"], batch["images"])
