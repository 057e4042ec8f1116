"""A training set that keeps its resized images gives what it gave without them."""

import os
import random
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import logged_by_fastreid, small_config
from torch.utils.data import SequentialSampler

from mdpr_fastreid.data import build_train_loader, training_set
from mdpr_fastreid.data.resized import ResizedImages
from mdpr_fastreid.errors import UsageError
from tests.support.image_trees import pictures_of_all_sizes

RANDOM = ["INPUT.PADDING.ENABLED", True, "INPUT.REA.ENABLED", True, "INPUT.CJ.ENABLED", True]


@pytest.fixture
def items(tmp_path):
    return pictures_of_all_sizes(tmp_path, 16)


def loader_of(items, cfg):
    dataset = training_set(cfg, items)
    return build_train_loader(cfg, train_set=dataset, sampler=SequentialSampler(dataset))


@pytest.mark.parametrize("workers", [0, 2])
def test_both_epochs_are_those_without_and_the_second_reads_no_image(tmp_path, items, workers):
    options = ["DATALOADER.NUM_WORKERS", workers, "SOLVER.IMS_PER_BATCH", 4, *RANDOM]
    folder = tmp_path / "kept"

    def batches(loader):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        yield list(loader)
        for path, *_ in items:
            if loader is kept:
                os.remove(path)
        yield list(loader)

    plain = loader_of(items, small_config(tmp_path, *options))
    kept = loader_of(items, small_config(tmp_path, *options, "DATALOADER.CACHE", str(folder)))
    for expected, actual in zip(list(batches(plain)), batches(kept), strict=True):
        for theirs, batch in zip(expected, actual, strict=True):
            assert torch.equal(theirs["images"], batch["images"])
            assert torch.equal(theirs["targets"], batch["targets"])
            assert torch.equal(theirs["camids"], batch["camids"])
            assert theirs["img_paths"] == batch["img_paths"]
    assert list(folder.iterdir()) == [], "a run that is killed leaves nothing behind"


def test_a_worker_that_does_not_inherit_the_open_file_is_sent_it(tmp_path):
    kept = ResizedImages(str(tmp_path), 2, (4, 3))
    kept.picture(1, lambda: Image.new("RGB", (3, 4), (200, 10, 7)))
    sent = ForkingPickler.loads(ForkingPickler.dumps(kept))
    del kept
    assert sent.picture(1, make=None).getpixel((2, 3)) == (200, 10, 7)


def test_a_full_disk_warns_and_the_picture_is_made_anew(tmp_path, monkeypatch):
    kept = ResizedImages(str(tmp_path), 1, (4, 3))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with logged_by_fastreid() as messages:
        for _ in range(2):
            assert kept.picture(0, lambda: Image.new("RGB", (3, 4), (1, 2, 3))).getpixel((2, 3)) == (1, 2, 3)
    assert any("No space left" in message for message in messages)


def test_what_cannot_be_kept_is_one_message(tmp_path, items):
    with pytest.raises(UsageError, match=r"1000000000 images of 384x192 take .* GiB"):
        ResizedImages(str(tmp_path), 10**9, (384, 192))
    with pytest.raises(UsageError, match="DATALOADER.CACHE /proc/none"):
        ResizedImages("/proc/none", 1, (4, 3))
    with pytest.raises(UsageError, match="INPUT.SIZE_TRAIN"):
        loader_of(items, small_config(tmp_path, "DATALOADER.CACHE", str(tmp_path), "INPUT.SIZE_TRAIN", [0]))
    with pytest.raises(UsageError, match="INPUT.AUTOAUG.ENABLED"):
        loader_of(items, small_config(tmp_path, "DATALOADER.CACHE", str(tmp_path), "INPUT.AUTOAUG.ENABLED", True))


def test_a_system_that_cannot_read_at_a_place_of_a_file_says_so(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "pread")
    with pytest.raises(UsageError, match="DATALOADER.CACHE needs"):
        ResizedImages(str(tmp_path), 1, (4, 3))
