"""Fields from the files of an item to a batch."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.data import samplers as stock_samplers
from fastreid.data.common import CommDataset
from PIL import Image
from small_runs import small_config

from mdpr_fastreid.data import FIELD_REGISTRY, Field, Item, build_test_loader, build_train_loader, training_set
from mdpr_fastreid.data.fields import build_fields
from mdpr_fastreid.data.items import fields_of, relabelled
from mdpr_fastreid.errors import UsageError


def picture(path, value, size=(16, 32)):
    Image.new("RGB", size, (value,) * 3).save(path)
    return str(path)


def items_with(tmp_path, **fields):
    """Eight images of two identities under two cameras, image ``i`` with the files ``fields[name](i)``."""
    return [
        Item(
            picture(tmp_path / f"{number}.png", number),
            f"pid{number // 4}",
            f"cam{number % 2}",
            {name: files(number) for name, files in fields.items()},
        )
        for number in range(8)
    ]


def test_an_item_is_fastreids_tuple_with_files_beside_it():
    item = Item("a.jpg", 3, 1, {"mask": "a.png"})
    path, pid, camid = item
    assert (path, pid, camid) == item == ("a.jpg", 3, 1) and item[1] == 3 and len(item) == 3
    assert fields_of(item) == {"mask": "a.png"} and fields_of(("a.jpg", 3, 1)) == {} and Item("a", 1, 2).fields == {}
    for again in (pickle.loads(pickle.dumps(item)), relabelled(item, "3", "1")):
        assert isinstance(again, Item) and again.fields == item.fields
    assert relabelled(item, "3", "1")[1:] == ("3", "1")
    assert type(relabelled(("a.jpg", 3, 1), "3", "1")) is tuple
    assert "a.png" in repr(item)


def test_fastreids_own_data_set_and_samplers_take_items_with_fields(tmp_path):
    items = items_with(tmp_path, mask=str)
    assert CommDataset(items).num_classes == 2
    for sampler in (stock_samplers.BalancedIdentitySampler, stock_samplers.NaiveIdentitySampler):
        drawn = [index for index, _ in zip(iter(sampler(items, 8, 4, seed=0)), range(8), strict=False)]
        assert sorted(index // 4 for index in drawn) == [0] * 4 + [1] * 4


@pytest.mark.parametrize("sampler", ["BalancedIdentitySampler", "NaiveIdentitySampler", "TrainingSampler"])
@pytest.mark.parametrize("workers", [0, 1])
def test_synthreids_masks_come_with_their_images(tmp_path, sampler, workers):
    options = ["INPUT.FIELDS", ("mask",), "DATALOADER.SAMPLER_TRAIN", sampler, "DATALOADER.NUM_WORKERS", workers]
    cfg = small_config(tmp_path, *options, "INPUT.REA.ENABLED", True)
    batch = next(iter(build_train_loader(cfg)))
    assert batch["masks"].shape == (64, 32, 16) and batch["masks"].dtype == torch.uint8
    assert batch["images"].shape == (64, 3, 32, 16) and batch["images"].dtype == torch.float32
    assert (batch["masks"].flatten(1).amax(1) > 0).float().mean() > 0.9
    loader, _ = build_test_loader(cfg, "SynthReIDTiny")
    item = loader.dataset.img_items[5]
    labels = Image.open(item.fields["mask"]).resize((16, 32), Image.Resampling.NEAREST)
    assert np.array_equal(next(iter(loader))["masks"][5], np.asarray(labels))


def test_an_image_without_a_wanted_field_is_named(tmp_path):
    cfg = small_config(tmp_path, "INPUT.FIELDS", ("mask",), "DATALOADER.SKIP_DAMAGED", True)
    for item in (Item(picture(tmp_path / "x.png", 1), 1, 1, {"clip": ("a",)}), (picture(tmp_path / "x.png", 1), 1, 1)):
        with pytest.raises(UsageError, match=r"x\.png: its data set gives no mask for this image") as caught:
            training_set(cfg, [item])[0]
        assert "\n" not in str(caught.value)


def test_what_does_not_fit_its_image_is_named(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "mask.png")
    cfg = small_config(tmp_path, "INPUT.FIELDS", ("mask",), "INPUT.SIZE_TRAIN", [0])
    items = items_with(tmp_path, mask=lambda number: str(tmp_path / "mask.png"))
    with pytest.raises(UsageError, match=r"3\.png: masks of \[9, 9\] pixels beside an image of \[32, 16\]"):
        training_set(cfg, items)[3]


def clip_dataset(tmp_path, frames, count):
    """Image ``i`` walks in frames of the values 10 i, 10 i + 1, ..."""

    def walk(number):
        return tuple(picture(tmp_path / f"{number}-{t}.png", 10 * number + t) for t in range(count))

    options = ["INPUT.FIELDS", ("clip",), "INPUT.CLIP.FRAMES", frames, "INPUT.FLIP.ENABLED", False]
    return small_config(tmp_path, *options, "SOLVER.IMS_PER_BATCH", 8), items_with(tmp_path, clip=walk)


@pytest.mark.parametrize(("count", "middles"), [(6, [1, 3, 5]), (3, [0, 1, 2]), (2, [0, 1, 1]), (1, [0, 0, 0])])
def test_a_clip_has_a_frame_of_each_part_of_a_walk(tmp_path, count, middles):
    cfg, items = clip_dataset(tmp_path, 3, count)
    evaluated = build_fields(cfg, is_train=False)[1].read(items[2].fields["clip"])
    assert [frame.getpixel((0, 0))[0] - 20 for frame in evaluated] == middles
    field, drawn = build_fields(cfg, is_train=True)[1], set()
    for seed in range(30):
        torch.manual_seed(seed)
        drawn.add(tuple(frame.getpixel((0, 0))[0] - 20 for frame in field.read(items[2].fields["clip"])))
    parts = [{int(place) for place in np.linspace(part, part + 1, 50, endpoint=False) * count / 3} for part in range(3)]
    assert [{places[part] for places in drawn} for part in range(3)] == parts


@pytest.mark.parametrize("workers", [0, 1])
def test_clips_come_with_their_images(tmp_path, workers):
    cfg, items = clip_dataset(tmp_path, 4, 4)
    cfg.DATALOADER.NUM_WORKERS = workers
    batch = next(iter(build_train_loader(cfg, train_set=training_set(cfg, items))))
    assert batch["clips"].shape == (8, 4, 3, 32, 16) and batch["clips"].dtype == torch.float32
    walks = torch.tensor([int(Path(path).stem) for path in batch["img_paths"]])
    expected = (10 * walks[:, None] + torch.arange(4)).float()
    assert torch.equal(batch["clips"], expected.view(8, 4, 1, 1, 1).expand_as(batch["clips"]))


def test_a_field_of_ones_own_needs_a_class_alone(tmp_path):
    @FIELD_REGISTRY.register()
    class View(Field):
        name, key = "view", "views"

        def read(self, files):
            return int(Path(files).read_text())

    def view(number):
        (tmp_path / f"{number}.txt").write_text(str(number % 3))
        return str(tmp_path / f"{number}.txt")

    try:
        options = ["INPUT.FIELDS", ("view",), "INPUT.REA.ENABLED", True, "INPUT.RPT.ENABLED", True]
        cfg = small_config(tmp_path, *options, "INPUT.PADDING.ENABLED", True, "SOLVER.IMS_PER_BATCH", 8)
        batch = next(iter(build_train_loader(cfg, train_set=training_set(cfg, items_with(tmp_path, view=view)))))
        assert batch["views"].tolist() == [int(Path(path).stem) % 3 for path in batch["img_paths"]]
    finally:
        del FIELD_REGISTRY._obj_map["view"]


@pytest.mark.parametrize(("fields", "message"), [(("maks",), "did you mean mask"), (("mask", "mask"), "a field twice")])
def test_wrong_names_are_one_message(tmp_path, fields, message):
    with pytest.raises(UsageError, match=message):
        build_train_loader(small_config(tmp_path, "INPUT.FIELDS", fields))


@pytest.mark.parametrize("name", ["image", "mask", "clip"])
def test_made_up_samples_look_like_real_ones(name):
    cfg = small_config(".", "INPUT.CLIP.FRAMES", 3)
    field = FIELD_REGISTRY.get(name)(cfg, True)
    sample = field.noise((20, 10), torch.Generator().manual_seed(0))
    assert sample.shape == {"image": (3, 20, 10), "mask": (20, 10), "clip": (3, 3, 20, 10)}[name]
    assert sample.dtype == (torch.uint8 if name == "mask" else torch.float32)
    assert sample.float().unique().numel() == 2 if name == "mask" else 200 < sample.max() <= 255 and sample.min() >= 0
    assert torch.equal(sample, field.noise((20, 10), torch.Generator().manual_seed(0)))


def test_a_field_that_makes_none_up_says_so():
    with pytest.raises(UsageError, match="the field view has no noise"):
        type("View", (Field,), {"name": "view", "key": "views"})(None, True).noise((2, 2), torch.Generator())
