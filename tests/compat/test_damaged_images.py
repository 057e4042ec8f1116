"""Images that cannot be read, and images of every kind that people have."""

import numpy as np
import pytest
from fastreid.data import build_reid_train_loader
from fastreid.data.data_utils import BackgroundGenerator
from PIL import Image
from small_runs import logged_by_fastreid, small_config, trained
from support.image_trees import market_tree

from mdpr_fastreid.compat.damaged_images import read_image
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


@pytest.mark.parametrize("workers", [0, 1])
def test_training_names_the_file_and_the_command_also_from_a_worker(tmp_path, workers):
    folder, cfg = shop(tmp_path, "DATALOADER.NUM_WORKERS", workers)
    loader = build_reid_train_loader(cfg)
    for path in (folder / "bounding_box_train").iterdir():
        DAMAGE["truncated"](path)
    with pytest.raises(UsageError, match=rf"bounding_box_train.*`mdpr data {folder}` lists all"):
        next(iter(loader))


@pytest.mark.parametrize("workers", [0, 1])
def test_skipping_keeps_batches_balanced_and_warns_once_a_file(tmp_path, workers):
    folder, cfg = shop(tmp_path, "DATALOADER.SKIP_DAMAGED", True, "DATALOADER.NUM_WORKERS", workers)
    bad = sorted((folder / "bounding_box_train").iterdir())[1]
    DAMAGE["truncated"](bad)
    loader = build_reid_train_loader(cfg)
    with logged_by_fastreid() as messages:
        batches = [batch for batch, _ in zip(iter(loader), range(6), strict=False)]
    for batch in batches:
        assert sorted(batch["targets"].tolist()) == [0] * 4 + [1] * 4 and str(bad) not in batch["img_paths"]
    assert loader.dataset.substitutes.count == 1
    if workers == 0:
        assert [bad.name in message for message in messages].count(True) == 1


def test_a_training_that_skipped_images_says_at_its_end_how_many(tmp_path):
    folder, cfg = shop(tmp_path, "DATALOADER.SKIP_DAMAGED", True, "SOLVER.MAX_EPOCH", 4, "TEST.EVAL_PERIOD", 0)
    for path in sorted((folder / "bounding_box_train").iterdir())[1:3]:
        DAMAGE["truncated"](path)
    with logged_by_fastreid() as messages:
        trained(cfg)
    (message,) = [message for message in messages if "could not be read" in message]
    assert message.startswith("2 of 16 training images") and message.endswith(f"`mdpr data {folder}` lists them")


def test_the_substitute_is_the_next_image_of_the_identity(tmp_path):
    folder, cfg = shop(tmp_path, "DATALOADER.SKIP_DAMAGED", True)
    dataset = build_reid_train_loader(cfg).dataset
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


def test_the_gpu_loaders_thread_passes_a_workers_error_on(monkeypatch):
    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)

    def batches():
        yield 1
        raise UsageError("x.jpg: cannot be read")

    thread = BackgroundGenerator(batches(), 0)
    assert next(thread) == 1
    with pytest.raises(UsageError, match=r"x\.jpg"):
        next(thread)
