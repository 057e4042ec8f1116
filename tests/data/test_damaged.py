"""Images that cannot be read, and images of every kind that people have."""

import os

import numpy as np
import pytest
from PIL import Image
from small_runs import logged_by_fastreid, small_config
from support.image_trees import market_tree

from mdpr_fastreid.data import Item, build_train_loader, training_set
from mdpr_fastreid.data.damaged import DamagedFiles
from mdpr_fastreid.data.reading import FORMATS, read_image, read_labels
from mdpr_fastreid.errors import UsageError

DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:900]),
    "empty": lambda path: path.write_bytes(b""),
    "no image": lambda path: path.write_text("a letter"),
    "missing": lambda path: path.unlink(),
}


def shop(tmp_path, *options):
    folder = tmp_path / "own"
    if not folder.exists():
        market_tree(folder, train=2, images=4)
    names = ["DATASETS.CUSTOM", (("shop", str(folder)),), "DATASETS.NAMES", ("shop",), "SOLVER.IMS_PER_BATCH", 8]
    return folder, small_config(tmp_path, *names, *options)


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_stops_with_the_file_and_the_command(tmp_path, kind):
    path = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 16, 3), dtype=np.uint8)).save(path)
    DAMAGE[kind](path)
    with pytest.raises(UsageError, match=r"x\.png: cannot be read as an image") as caught:
        read_image(str(path))
    assert "\n" not in str(caught.value)


def test_a_program_for_a_printer_is_no_image_and_is_not_run(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args, **kwargs: started.append(args))
    path = tmp_path / "x.jpg"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n")
    for read in (read_image, read_labels):
        with pytest.raises(UsageError, match=r"x\.jpg: .*not of a format that is read: JPEG, PNG"):
            read(str(path))
    assert not started


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(UsageError, match=r"x\.jpg: .*no regular file"):
        read_image(str(tmp_path / "x.jpg"))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_that_is_named_is_read(tmp_path, form):
    Image.new("RGB", (4, 8), (200, 200, 200)).save(tmp_path / "x.jpg", form)
    assert read_image(str(tmp_path / "x.jpg")).size == (4, 8)


@pytest.mark.parametrize("workers", [0, 1])
def test_training_names_the_file_and_the_command_also_from_a_worker(tmp_path, workers):
    folder, cfg = shop(tmp_path, "DATALOADER.NUM_WORKERS", workers)
    loader = build_train_loader(cfg)
    for path in (folder / "bounding_box_train").iterdir():
        DAMAGE["truncated"](path)
    with pytest.raises(UsageError, match=rf"bounding_box_train.*`mdpr data {folder}` lists all"):
        next(iter(loader))


@pytest.mark.parametrize("workers", [0, 1])
def test_skipping_keeps_batches_balanced_and_warns_once_a_file(tmp_path, workers):
    folder, cfg = shop(tmp_path, "DATALOADER.SKIP_DAMAGED", True, "DATALOADER.NUM_WORKERS", workers)
    bad = sorted((folder / "bounding_box_train").iterdir())[1]
    DAMAGE["truncated"](bad)
    loader = build_train_loader(cfg)
    with logged_by_fastreid() as messages:
        batches = [batch for batch, _ in zip(iter(loader), range(6), strict=False)]
    for batch in batches:
        assert sorted(batch["targets"].tolist()) == [0] * 4 + [1] * 4 and str(bad) not in batch["img_paths"]
    assert loader.dataset.substitutes.count == 1
    if workers == 0:
        assert [bad.name in message for message in messages].count(True) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_the_report_says_how_many_images_were_skipped(tmp_path, workers):
    folder, cfg = shop(tmp_path, "DATALOADER.SKIP_DAMAGED", True, "DATALOADER.NUM_WORKERS", workers)
    loader = build_train_loader(cfg)
    assert loader.dataset.damage_report() is None
    for path in sorted((folder / "bounding_box_train").iterdir())[1:3]:
        DAMAGE["truncated"](path)
    for _ in zip(iter(loader), range(8), strict=False):
        pass
    message = loader.dataset.damage_report()
    assert message.startswith("2 of 16 training images") and message.endswith(f"`mdpr data {folder}` lists them")


def test_the_substitute_is_the_next_image_of_the_identity(tmp_path):
    folder, cfg = shop(tmp_path, "DATALOADER.SKIP_DAMAGED", True)
    dataset = build_train_loader(cfg).dataset
    paths = [item[0] for item in dataset.img_items]
    for index in (7, 0):
        DAMAGE["empty"](folder / "bounding_box_train" / paths[index].rpartition("/")[2])
    assert [dataset[7]["img_paths"], dataset[7]["img_paths"], dataset[6]["img_paths"]] == [paths[1], paths[1], paths[6]]
    for index in range(8):
        DAMAGE["empty"](folder / "bounding_box_train" / paths[index].rpartition("/")[2])
    with pytest.raises(UsageError, match="every image of identity shop_1 is damaged"):
        dataset[3]


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("L", 100, (100,) * 3),
        ("I;16", 100 * 256, (100,) * 3),
        ("RGBA", (9, 8, 7, 0), (9, 8, 7)),
        ("1", 1, (255,) * 3),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("LA", (50, 9), (50,) * 3),
    ],
)
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode, pixel, expected):
    path = tmp_path / "x.tif"
    Image.new(mode, (4, 8), pixel).save(path)
    image = read_image(str(path))
    assert (image.mode, image.size, image.getpixel((1, 1))) == ("RGB", (4, 8), expected)


def test_a_palette_gives_its_colours(tmp_path):
    Image.new("RGB", (4, 8), (200, 10, 30)).quantize(4).save(tmp_path / "x.png")
    assert read_image(str(tmp_path / "x.png")).getpixel((0, 0)) == (200, 10, 30)


def test_exif_turns_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(str(tmp_path / "x.jpg")).size == (4, 8)


def test_floating_point_pixels_are_refused(tmp_path):
    Image.new("F", (4, 8)).save(tmp_path / "x.tif")
    with pytest.raises(UsageError, match="floating-point"):
        read_image(str(tmp_path / "x.tif"))


def test_a_damaged_mask_is_named_and_its_image_skipped(tmp_path):
    folder, cfg = shop(tmp_path, "INPUT.FIELDS", ("mask",))
    images = sorted((folder / "bounding_box_train").iterdir())[:8]
    masks = [tmp_path / f"{number}.png" for number in range(8)]
    for mask in masks:
        Image.new("L", (16, 32), 5).save(mask)
    masks[0].write_text("a letter")
    items = [Item(str(image), "one", "a", {"mask": str(mask)}) for image, mask in zip(images, masks, strict=True)]
    with pytest.raises(UsageError, match=r"0\.png: cannot be read as an image.*`mdpr data"):
        training_set(cfg, items)[0]
    cfg.DATALOADER.SKIP_DAMAGED = True
    dataset = training_set(cfg, items)
    assert dataset[0]["img_paths"] == str(images[1]) and dataset.substitutes.count == 1


@pytest.mark.parametrize(("mode", "pixel", "label"), [("L", 200, 200), ("I;16", 9, 9), ("1", 1, 1)])
def test_labels_are_the_levels_of_a_grey_picture(tmp_path, mode, pixel, label):
    Image.new(mode, (4, 8), pixel).save(tmp_path / "x.tif")
    labels = read_labels(str(tmp_path / "x.tif"))
    assert labels.shape == (8, 4) and labels.dtype == np.uint8 and (labels == label).all()


def test_labels_are_the_indices_of_a_palette(tmp_path):
    picture = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3), "P")
    picture.putpalette([9] * 768)
    picture.save(tmp_path / "x.png")
    assert read_labels(str(tmp_path / "x.png")).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(("mode", "pixel"), [("RGB", (1, 2, 3)), ("I;16", 300)])
def test_colours_and_large_labels_are_no_label_map(tmp_path, mode, pixel):
    Image.new(mode, (4, 8), pixel).save(tmp_path / "x.tif")
    with pytest.raises(UsageError, match="labels from 0 to 255"):
        read_labels(str(tmp_path / "x.tif"))


def test_names_in_warnings_do_not_move_the_cursor():
    with logged_by_fastreid() as messages:
        DamagedFiles(["a\x1b[2J.jpg"]).note("a\x1b[2J.jpg", "a\x1b[2J.jpg: cannot be read")
    assert messages == ["a\\x1b[2J.jpg: cannot be read. 1 damaged so far"]
