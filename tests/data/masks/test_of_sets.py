"""Masks of a config's data sets in training and in evaluation: there, missing, damaged."""

import logging
import re
import shutil
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import logged_by_fastreid, small_config
from support.image_trees import market_tree
from support.mask_files import confidence_fields, write_fields, write_labels

from mdpr_fastreid.data import build_test_loader, build_train_loader
from mdpr_fastreid.data.masks import PART_GROUPS, UNLABELLED
from mdpr_fastreid.errors import UsageError

FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
PLAIN = ["INPUT.FLIP.ENABLED", False, "INPUT.SIZE_TRAIN", [32, 16], "INPUT.SIZE_TEST", [64, 32]]


@pytest.fixture
def folder(tmp_path):
    return market_tree(tmp_path / "own", train=2, images=4)


def shop_config(tmp_path, folder, *options):
    names = ["DATASETS.CUSTOM", (("shop", str(folder)),), "DATASETS.NAMES", ("shop",), "DATASETS.TESTS", ("shop",)]
    fields = ["INPUT.FIELDS", ("mask",), "SOLVER.IMS_PER_BATCH", 16, "DATALOADER.NUM_WORKERS", 0]
    fields += ["DATALOADER.SAMPLER_TRAIN", "TrainingSampler"]
    return small_config(tmp_path, *names, *fields, *PLAIN, *options)


def images_of(folder, *parts):
    return [image for part in parts or FOLDERS for image in sorted((folder / part).iterdir())]


def mask_of(image, suffix, within="."):
    return image.parents[1] / "masks" / within / image.parent.name / f"{image.stem}{suffix}"


def label_images(folder, *parts):
    """Masks in ATR's labels: the image number ``n`` has label ``n % 18`` in its lower half."""
    for number, image in enumerate(images_of(folder, *parts)):
        labels = np.zeros((32, 16))
        labels[16:] = number % 18
        write_labels(mask_of(image, ".png"), labels)


def test_stock_market1501_has_masks_in_its_batches(tmp_path, monkeypatch):
    folder = market_tree(tmp_path / "Market-1501-v15.09.15", train=2)
    for image in images_of(folder):
        image.rename(image.with_suffix(".jpg"))
    for number, image in enumerate(images_of(folder)):
        write_fields(mask_of(image, ".npy", "pifpaf_maskrcnn_filtering"), number)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    names = ["DATASETS.NAMES", ("Market1501",), "INPUT.FIELDS", ("mask",), "INPUT.MASK.GROUPS", "pifpaf_eight"]
    cfg = small_config(tmp_path, *names, *PLAIN, "SOLVER.IMS_PER_BATCH", 8, "DATALOADER.NUM_WORKERS", 1)
    batch = next(iter(build_train_loader(cfg)))
    assert batch["masks"].shape == (8, 32, 16) and batch["masks"].dtype == torch.uint8
    groups, order = PART_GROUPS.get("pifpaf_eight"), [str(image) for image in images_of(folder)]
    for path, mask in zip(batch["img_paths"], batch["masks"], strict=True):
        fields = confidence_fields(order.index(path)).astype(np.float32)
        assert np.array_equal(mask[::4, ::4], groups.labels(fields, (32, 16), (8, 4)))
    loader, _ = build_test_loader(cfg, "Market1501")
    batch = next(iter(loader))
    assert batch["masks"].shape[1:] == (64, 32) and (batch["masks"] <= 8).all()
    fields = confidence_fields(order.index(batch["img_paths"][0])).astype(np.float32)
    assert np.array_equal(batch["masks"][0, ::4, ::4], groups.labels(fields, (64, 32), (16, 8)))


@pytest.mark.parametrize("workers", [0, 1])
def test_label_images_of_a_users_folder_are_grouped(tmp_path, folder, workers):
    label_images(folder)
    cfg = shop_config(tmp_path, folder, "INPUT.MASK.GROUPS", "atr", "DATALOADER.NUM_WORKERS", workers)
    order, classes = [str(image) for image in images_of(folder)], [0, 1, 1, 1, 2, 3, 3, 2, 2, 4, 4, 1, 3, 3, 2, 2, 5, 1]
    batch = next(iter(build_train_loader(cfg)))
    for path, mask in zip(batch["img_paths"], batch["masks"], strict=True):
        assert (mask[:16] == 0).all() and (mask[16:] == classes[order.index(path) % 18]).all()
    cfg.INPUT.MASK.GROUPS = ""
    batch = next(iter(build_train_loader(cfg)))
    for path, mask in zip(batch["img_paths"], batch["masks"], strict=True):
        assert (mask[16:] == order.index(path) % 18).all()


@pytest.mark.parametrize(
    ("groups", "looked_for"),
    [
        ("", r"there is no 0001_c1s1_000000_00\.png in {}/masks/bounding_box_train"),
        (
            "pifpaf_eight",
            r"there is no 0001_c1s1_000000_00\.jpg\.confidence_fields\.npy or 0001_c1s1_000000_00\.npy or .* in "
            r"{}/masks/pifpaf_maskrcnn_filtering/bounding_box_train or {}/masks/bounding_box_train",
        ),
    ],
)
def test_a_training_set_without_masks_is_one_line_before_training(tmp_path, folder, groups, looked_for):
    cfg = shop_config(tmp_path, folder, "INPUT.MASK.GROUPS", groups)
    pattern = "shop has no masks: for .*0001_c1s1_000000_00.png " + looked_for.format(*[re.escape(str(folder))] * 2)
    with pytest.raises(UsageError, match=pattern + r".*INPUT\.MASK\.FOLDER.*INPUT\.MASK\.MISSING ignore") as caught:
        build_train_loader(cfg)
    assert "\n" not in str(caught.value)


def test_training_images_without_a_mask_are_counted_before_training(tmp_path, folder):
    label_images(folder, "bounding_box_train")
    images = images_of(folder, "bounding_box_train")
    for image in images[2:5]:
        mask_of(image, ".png").unlink()
    message = rf"shop: 3 of 16 images have no mask: for {images[2]} there is no .*MISSING ignore"
    with pytest.raises(UsageError, match=message):
        build_train_loader(shop_config(tmp_path, folder))


@pytest.mark.parametrize("augmented", [False, True])
def test_ignored_images_are_unlabelled_whatever_is_done_to_them(tmp_path, folder, augmented):
    label_images(folder, "bounding_box_train")
    gone = images_of(folder, "bounding_box_train")[2:5]
    for image in gone:
        mask_of(image, ".png").unlink()
    options = ["INPUT.MASK.MISSING", "ignore", "INPUT.MASK.GROUPS", "atr"]
    if augmented:
        options += ["INPUT.REA.ENABLED", True, "INPUT.REA.PROB", 1.0, "INPUT.PADDING.ENABLED", True]
        options += ["INPUT.FLIP.ENABLED", True, "INPUT.AFFINE.ENABLED", True, "INPUT.RPT.ENABLED", True]
        options += ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [32, 16]]
    with logged_by_fastreid() as messages:
        batches = iter(build_train_loader(shop_config(tmp_path, folder, *options)))
        for _ in range(3):
            batch = next(batches)
            unlabelled = [bool((mask == UNLABELLED).all()) for mask in batch["masks"]]
            assert unlabelled == [path in map(str, gone) for path in batch["img_paths"]]
            assert not (batch["masks"][~torch.tensor(unlabelled)] == UNLABELLED).any()
    assert [message for message in messages if "3 of 16 images have no mask" in message]


def test_a_set_without_any_mask_is_a_warning_where_they_are_ignored(tmp_path, folder, caplog):
    with logged_by_fastreid() as messages:
        batch = next(iter(build_train_loader(shop_config(tmp_path, folder, "INPUT.MASK.MISSING", "ignore"))))
    assert (batch["masks"] == UNLABELLED).all() and batch["masks"].shape == (16, 32, 16)
    assert [message for message in messages if "shop has no masks: for" in message and "unlabelled" in message]


@pytest.mark.parametrize("missing", ["error", "ignore"])
@pytest.mark.parametrize("groups", ["", "atr", "pifpaf_five_v"])
def test_in_evaluation_images_without_a_mask_are_unlabelled(tmp_path, folder, groups, missing):
    label_images(folder, "query")
    options = ["INPUT.MASK.MISSING", missing, "INPUT.MASK.GROUPS", groups]
    loader, queries = build_test_loader(shop_config(tmp_path, folder, *options), "shop")
    masks = torch.cat([batch["masks"] for batch in loader])
    assert masks.shape[1:] == (64, 32) and (masks[queries:] == UNLABELLED).all()
    assert bool((masks[:queries] == UNLABELLED).any()) == (groups == "pifpaf_five_v")


def test_synthreid_whose_masks_were_removed_is_one_line(tmp_path, monkeypatch):
    cfg = small_config(tmp_path, "INPUT.FIELDS", ("mask",))
    set_folder = build_train_loader(cfg).dataset.img_items[0][0].rpartition("/bounding_box_train/")[0]
    shutil.copytree(set_folder, tmp_path / "synthreid-tiny", ignore=shutil.ignore_patterns("masks"))
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    with pytest.raises(UsageError, match="SynthReIDTiny has no masks: for "):
        build_train_loader(cfg)
    loader, _ = build_test_loader(cfg, "SynthReIDTiny")
    assert (next(iter(loader))["masks"] == UNLABELLED).all()


def test_without_the_field_nobody_looks_for_masks(tmp_path, folder, caplog):
    with caplog.at_level(logging.WARNING):
        batch = next(iter(build_train_loader(shop_config(tmp_path, folder, "INPUT.FIELDS", ()))))
    assert "masks" not in batch and "mask" not in caplog.text


def test_an_unknown_label_stops_training_also_where_damage_is_skipped(tmp_path, folder):
    label_images(folder)
    bad = mask_of(images_of(folder)[3], ".png")
    write_labels(bad, np.full((32, 16), 77))
    for skip in (False, True):
        cfg = shop_config(tmp_path, folder, "INPUT.MASK.GROUPS", "atr", "DATALOADER.SKIP_DAMAGED", skip)
        with pytest.raises(UsageError, match=rf"{bad}: label 77 is not in the table of part grouping atr"):
            next(iter(build_train_loader(cfg)))


def test_a_data_set_with_masks_is_pickled_whole_for_spawned_workers(tmp_path, folder):
    label_images(folder)
    dataset = build_train_loader(shop_config(tmp_path, folder, "INPUT.MASK.GROUPS", "atr")).dataset
    expected = dataset[5]["masks"]
    assert torch.equal(ForkingPickler.loads(ForkingPickler.dumps(dataset))[5]["masks"], expected)


@pytest.mark.parametrize("groups", ["", "atr"])
def test_a_label_image_of_another_size_is_named_in_training(tmp_path, folder, groups):
    label_images(folder)
    for image in images_of(folder):
        write_labels(mask_of(image, ".png"), np.zeros((16, 16)))
    message = r"\.png: masks of \[16, 16\] pixels beside an image of \[32, 16\]: .*/masks/.*\.png is to be as large"
    with pytest.raises(UsageError, match=message) as caught:
        next(iter(build_train_loader(shop_config(tmp_path, folder, "INPUT.MASK.GROUPS", groups))))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_in_evaluation_masks_that_cannot_be_used_are_unlabelled_and_a_warning_of_each_kind(tmp_path, folder, workers):
    label_images(folder)
    images = images_of(folder, "query", "bounding_box_test")
    bad = [mask_of(image, ".png") for image in images[:6]]
    for number, mask in enumerate(bad):
        if number < 2:
            mask.write_bytes(mask.read_bytes()[:50])
        else:
            write_labels(mask, np.full((32, 16), 77) if number < 4 else np.zeros((16, 16)))
    cfg = shop_config(tmp_path, folder, "INPUT.MASK.GROUPS", "atr", "DATALOADER.NUM_WORKERS", workers)
    with logged_by_fastreid() as messages:
        loader, _ = build_test_loader(cfg, "shop")
        masks = torch.cat([batch["masks"] for batch in loader])
    assert len(masks) == len(images)
    unlabelled = (masks == UNLABELLED).flatten(1).all(1)
    assert unlabelled.tolist() == [number < 6 for number in range(len(images))]
    if workers == 0:  # else they are in the workers' logs
        warnings = [message for message in messages if "such a mask counts as one without" in message]
        named = [str(bad[0]), f"{bad[2]}: label 77", f"{bad[4]} is to be as large"]
        assert len(warnings) == 3 and all(part in text for part, text in zip(named, warnings, strict=True))


def test_masks_come_beside_images_that_were_resized_before(tmp_path, folder):
    label_images(folder)
    cfg = shop_config(tmp_path, folder, "DATALOADER.CACHE", str(tmp_path / "kept"), "INPUT.SIZE_TRAIN", [64, 32])
    dataset = build_train_loader(cfg).dataset
    first, second = dataset[5], dataset[5]
    assert torch.equal(first["masks"], second["masks"]) and torch.equal(first["images"], second["images"])
    assert first["masks"].shape == (64, 32) and first["masks"].any()
    bad = dataset.img_items[3]
    write_labels(Path(bad.fields["mask"]), np.ones((16, 16)))
    with pytest.raises(UsageError, match=r"masks of \[16, 16\] pixels beside an image of \[32, 16\]"):
        dataset[3]


@pytest.mark.parametrize("kind", ["label image", "confidence fields"])
def test_the_mask_follows_the_image_that_was_really_read(tmp_path, folder, kind):
    images = images_of(folder, "bounding_box_train")
    options = ["INPUT.MASK.GROUPS", "pifpaf_eight"] if kind == "confidence fields" else []
    for number, image in enumerate(images):
        if options:
            write_fields(mask_of(image, ".npy"), number)
        else:
            write_labels(mask_of(image, ".png"), np.full((32, 16), number + 1))
    images[1].write_bytes(b"")
    damaged = mask_of(images[4], ".npy" if options else ".png")
    damaged.write_bytes(damaged.read_bytes()[:40])
    dataset = build_train_loader(shop_config(tmp_path, folder, "DATALOADER.SKIP_DAMAGED", True, *options)).dataset
    place = {item[0]: index for index, item in enumerate(dataset.img_items)}
    for asked, read in ((1, 2), (4, 5), (6, 6)):
        sample, expected = dataset[place[str(images[asked])]], dataset[place[str(images[read])]]
        assert sample["img_paths"] == str(images[read]) and torch.equal(sample["masks"], expected["masks"])
        if not options:
            assert (sample["masks"] == read + 1).all()
    assert dataset.substitutes.count == 2
    dataset.substitutes = None
    with pytest.raises(UsageError, match=rf"{damaged}: cannot be read as .*`mdpr data {folder}` lists all damaged"):
        dataset[place[str(images[4])]]
