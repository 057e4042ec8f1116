"""A training set that keeps its resized images gives what it gave without them."""

import multiprocessing
import os
import random
import signal
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

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="processes are not known to each other here")
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


def grey(level, size=(3, 4)):
    return lambda: Image.new("RGB", size, (level, level, level))


def written(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"as it was")
    return [str(folder / name) for name in names]


def test_a_worker_that_does_not_inherit_the_open_file_is_sent_it(tmp_path):
    paths = written(tmp_path, "a", "b")
    kept = ResizedImages(str(tmp_path), paths, (4, 3))
    kept.picture(1, paths[1], grey(200))
    sent = ForkingPickler.loads(ForkingPickler.dumps(kept))
    del kept
    assert sent.picture(1, paths[1], make=None).getpixel((2, 3)) == (200, 200, 200)


@needs_proc
def test_loaders_of_the_same_images_share_what_the_others_made_and_others_do_not(tmp_path, monkeypatch):
    paths = written(tmp_path, "a", "b")
    one = ResizedImages(str(tmp_path / "kept"), paths, (4, 3))
    one.picture(0, paths[0], grey(1))

    def first_pixel(folder="kept", paths=paths, size=(4, 3), **options):
        other = ResizedImages(str(tmp_path / folder), paths, size, **options)
        return other.picture(0, paths[0], grey(2, size[::-1])).getpixel((0, 0))[0]

    assert first_pixel() == 1
    monkeypatch.chdir(tmp_path)
    assert first_pixel(paths=["a", "b"]) == 1, "the same files by other names"
    assert first_pixel(paths=paths[::-1]) == 2
    assert first_pixel(paths=paths[:1]) == 2
    assert first_pixel(size=(3, 4)) == 2
    assert first_pixel(folder="elsewhere") == 2
    assert first_pixel(shared=False) == 2
    monkeypatch.setattr("PIL.__version__", "0.1")
    assert first_pixel() == 2
    monkeypatch.undo()
    del one
    assert first_pixel() == 2, "what nobody has open any more is gone"
    assert list((tmp_path / "kept").iterdir()) == []


@needs_proc
def test_a_picture_of_another_run_is_not_used_once_its_file_has_changed(tmp_path):
    paths = written(tmp_path, "a", "b")
    one, other = (ResizedImages(str(tmp_path), paths, (4, 3)) for _ in range(2))
    for index in range(2):
        one.picture(index, paths[index], grey(1))
    assert other.picture(1, paths[1], grey(2)).getpixel((0, 0)) == (1, 1, 1)
    before = os.stat(paths[0])
    for path in paths:
        with open(path, "r+b") as file:
            file.write(b"as it is!")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # the change itself has a date, too
    with logged_by_fastreid() as messages:
        for _ in range(2):
            assert other.picture(0, paths[0], grey(2)).getpixel((0, 0)) == (2, 2, 2)
    assert sum("changed after another run kept it" in message for message in messages) == 1
    assert other.picture(1, paths[1], make=None).getpixel((0, 0)) == (1, 1, 1), "it had been looked at"
    assert one.picture(0, paths[0], make=None).getpixel((0, 0)) == (1, 1, 1), "as in a run alone"
    os.remove(paths[0])
    third = ResizedImages(str(tmp_path), paths, (4, 3))
    assert third.picture(0, paths[0], grey(3)).getpixel((0, 0)) == (3, 3, 3)


@needs_proc
def test_processes_that_start_together_share_one_file_and_those_killed_leave_no_half_of_a_picture(tmp_path):
    paths = written(tmp_path, "a", "b", "c", "d")
    fork = multiprocessing.get_context("fork")
    together, files = fork.Barrier(len(paths) + 1), fork.SimpleQueue()

    def die_writing(index):
        together.wait()
        kept = ResizedImages(str(tmp_path / "kept"), paths, (4, 3))
        files.put(os.fstat(kept._file.fileno()).st_ino)
        together.wait()  # for the test to have the file open, too
        whole = os.pwrite

        def half(file, content, offset):
            whole(file, bytes(content)[:18], offset)
            os.kill(os.getpid(), signal.SIGKILL)

        os.pwrite = half
        kept.picture(index, paths[index], grey(200))

    processes = [fork.Process(target=die_writing, args=(index,)) for index in range(len(paths))]
    for process in processes:
        process.start()
    together.wait()
    shared = {files.get() for _ in processes}
    kept = ResizedImages(str(tmp_path / "kept"), paths, (4, 3))
    together.wait()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [-signal.SIGKILL] * len(paths)
    assert shared == {os.fstat(kept._file.fileno()).st_ino}
    for index, path in enumerate(paths):
        assert kept.picture(index, path, grey(index)).getpixel((0, 0))[0] == index
        assert kept.picture(index, path, make=None).getpixel((2, 3))[0] == index, "its lock died with the process"
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_full_disk_is_one_warning_and_pictures_are_made_anew(tmp_path, monkeypatch):
    paths = written(tmp_path, "a", "b")
    kept = ResizedImages(str(tmp_path), paths, (4, 3))
    whole = os.pwrite

    def full(file, content, offset):
        return whole(file, bytes(content)[:20], offset)  # which is all that a disk takes that becomes full

    monkeypatch.setattr(os, "pwrite", full)
    with logged_by_fastreid() as messages:
        for index in (0, 1, 0, 1):
            assert kept.picture(index, paths[index], grey(5)).getpixel((2, 3)) == (5, 5, 5)
    assert sum("No space left" in message for message in messages) == 1
    monkeypatch.undo()
    fresh = ResizedImages(str(tmp_path), paths, (4, 3))
    assert fresh.picture(0, paths[0], grey(6)).getpixel((2, 3)) == (6, 6, 6), "half a picture is none"


def test_what_cannot_be_kept_is_one_message(tmp_path, items):
    with pytest.raises(UsageError, match=r".* MiB are needed, .* free: 1000 images of 1000000x10000 are kept"):
        ResizedImages(str(tmp_path), ["a"] * 1000, (10**6, 10**4))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="DATALOADER.CACHE .*file is a file: name a folder"):
        ResizedImages(str(tmp_path / "file"), ["a"], (4, 3))
    with pytest.raises(UsageError, match="DATALOADER.CACHE /proc/none"):
        ResizedImages("/proc/none", ["a"], (4, 3))
    for options in (["INPUT.SIZE_TRAIN", [0]], ["INPUT.SIZE_TRAIN", [64]], ["INPUT.AUTOAUG.ENABLED", True]):
        with pytest.raises(UsageError, match="not resized to one size first of all .*INPUT.SIZE_TRAIN"):
            loader_of(items, small_config(tmp_path, "DATALOADER.CACHE", str(tmp_path), *options))


def test_a_system_that_cannot_read_at_a_place_of_a_file_says_so(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "pread")
    with pytest.raises(UsageError, match="DATALOADER.CACHE needs"):
        ResizedImages(str(tmp_path), ["a"], (4, 3))
