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
