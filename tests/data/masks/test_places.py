"""Masks are found beside the images of any data set, by every variant of their paths."""

from pathlib import Path

import numpy as np
import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from support.image_trees import write_images
from support.mask_files import write_fields, write_labels

from mdpr_fastreid.data import Item
from mdpr_fastreid.data.custom import custom_class
from mdpr_fastreid.data.items import fields_of
from mdpr_fastreid.data.masks.places import CONFIDENCE_FIELDS, LABEL_IMAGES, MaskPlaces, set_folder
from mdpr_fastreid.errors import UsageError

MARKET = ["bounding_box_train/0002_c1s1_1.jpg", "query/0003_c2s1_1.jpg", "bounding_box_test/0003_c1s1_1.jpg"]
DUKE = ["bounding_box_train/0001_c2_f1.jpg", "query/0005_c8_f1.jpg", "bounding_box_test/0005_c1_f2.jpg"]
IDENTITY_FOLDERS = {
    "PDukeMTMC": (
        "P-DukeMTMC-reID",
        [
            "train/occluded_body_images/0001/0001_c2_f01.jpg",
            "train/whole_body_images/0001/0001_c3_f02.jpg",
            "test/occluded_body_images/0009/0009_c1_f03.jpg",
            "test/whole_body_images/0009/0009_c8_f04.jpg",
        ],
    ),
    "OccludedReID": (
        "Occluded_REID",
        ["occluded_body_images/001/001_01.tif", "whole_body_images/001/001_06.tif"],
    ),
}
SETS = {
    "Market1501": ("Market-1501-v15.09.15", MARKET),
    "DukeMTMC": ("DukeMTMC-reID", DUKE),
    "OccludedDuke": ("Occluded_Duke", DUKE),
    **IDENTITY_FOLDERS,
}
VARIANTS = {
    "stem.jpg.confidence_fields.npy": lambda path: f"{path.stem}.jpg.confidence_fields.npy",
    "stem.npy": lambda path: f"{path.stem}.npy",
    "name.npy": lambda path: f"{path.name}.npy",
}


def load(name, root):
    data = DATASET_REGISTRY.get(name)(root=str(root))
    return data, data.train + data.query + data.gallery


def found_in(data, items, layout, within=""):
    places = MaskPlaces(set_folder(data, items), [layout], within)
    return {item[0]: fields_of(item).get("mask") for item in places.of_items(items)}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", SETS)
def test_confidence_fields_are_found_for_every_published_set(tmp_path, name, variant):
    folder, files = SETS[name]
    images = write_images(tmp_path / folder, files)
    masks = {}
    for image in images:
        inside = image.parent.relative_to(tmp_path / folder)
        place = tmp_path / folder / "masks/pifpaf_maskrcnn_filtering" / inside
        masks[str(image)] = str(write_fields(place / VARIANTS[variant](image)))
    assert found_in(*load(name, tmp_path), CONFIDENCE_FIELDS) == masks


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", IDENTITY_FOLDERS)
def test_confidence_fields_may_leave_out_the_folder_of_the_identity(tmp_path, name, variant):
    folder, files = SETS[name]
    masks = {}
    for image in write_images(tmp_path / folder, files):
        inside = image.parent.parent.relative_to(tmp_path / folder)
        place = tmp_path / folder / "masks/pifpaf_maskrcnn_filtering" / inside
        masks[str(image)] = str(write_fields(place / VARIANTS[variant](image)))
    assert found_in(*load(name, tmp_path), CONFIDENCE_FIELDS) == masks


@pytest.mark.parametrize("within", ["", "schp-atr"])
@pytest.mark.parametrize("name", SETS)
def test_label_images_mirror_the_folders_of_the_images(tmp_path, name, within):
    folder, files = SETS[name]
    masks = {}
    for image in write_images(tmp_path / folder, files):
        inside = image.relative_to(tmp_path / folder).with_suffix(".png")
        masks[str(image)] = str(write_labels(tmp_path / folder / "masks" / within / inside, np.ones((4, 2))))
    data, items = load(name, tmp_path)
    assert found_in(data, items, LABEL_IMAGES, within) == masks
    assert set(found_in(data, items, LABEL_IMAGES, "another").values()) == {None}
    assert set(found_in(data, items, CONFIDENCE_FIELDS, within).values()) == {None}


@pytest.mark.parametrize("layout", ["train/{}/1.jpg", "{}/1.jpg"])
def test_a_users_folder_has_masks_that_mirror_its_images(tmp_path, layout, caplog):
    names = [layout.format(name) for name in ("anna", "bob")]
    images = write_images(tmp_path, names)
    masks = [write_labels(tmp_path / "masks" / Path(name).with_suffix(".png"), np.ones((4, 2))) for name in names]
    data = custom_class("shop", tmp_path)()
    items = data.train + data.query + data.gallery
    assert found_in(data, items, LABEL_IMAGES) == {str(i): str(m) for i, m in zip(images, masks, strict=True)}
    assert len(items) == 2 and not data.left_out and "left out" not in caplog.text


def test_an_identity_that_is_called_masks_stays_one(tmp_path):
    write_images(tmp_path, ["masks/1.jpg", "anna/1.jpg"])
    data = custom_class("shop", tmp_path)()
    assert sorted(data.identity_names.values()) == ["anna", "masks"]


def test_a_manifests_mask_wins_and_its_other_images_have_those_beside_them(tmp_path):
    write_images(tmp_path, ["in/1.png", "in/2.png"])
    for place in ("mine.png", "masks/in/1.png", "masks/in/2.png"):
        write_labels(tmp_path / place, np.ones((4, 2)))
    rows = "in/1.png,anna,train,mine.png\nin/2.png,anna,train,\n"
    (tmp_path / "manifest.csv").write_text("path,identity,split,mask\n" + rows)
    data = custom_class("shop", tmp_path)()
    found = found_in(data, data.train, LABEL_IMAGES)
    assert [Path(mask).relative_to(tmp_path) for mask in found.values()] == [Path("mine.png"), Path("masks/in/2.png")]


def test_a_mask_that_an_item_names_wins(tmp_path):
    (image,) = write_images(tmp_path, ["in/1.png"])
    write_labels(tmp_path / "masks/in/1.png", np.ones((4, 2)))
    item = Item(str(image), "a", "b", {"mask": "own.png", "clip": ("1", "2")})
    places = MaskPlaces(str(tmp_path), [LABEL_IMAGES])
    assert places.of_items([item])[0] is item
    beside = places.of_items([Item(str(image), "a", "b", {"clip": ("1", "2")})])[0]
    assert beside.fields == {"clip": ("1", "2"), "mask": str(tmp_path / "masks/in/1.png")} and beside == item


def test_one_file_cannot_be_the_mask_of_two_images(tmp_path):
    images = write_images(tmp_path, ["train/anna/1.jpg", "train/bob/1.jpg"])
    write_fields(tmp_path / "masks/train/1.npy")
    places = MaskPlaces(str(tmp_path), [CONFIDENCE_FIELDS])
    items = [(str(image), "a", "b") for image in images]
    with pytest.raises(UsageError, match=r"1\.npy would be the mask of .*anna/1\.jpg and of .*bob/1\.jpg") as caught:
        places.of_items(items)
    assert "\n" not in str(caught.value)
    assert places.of_items(items[:1] * 2)[1].fields  # an image may be there twice


def test_images_elsewhere_have_no_mask_by_place(tmp_path):
    (image,) = write_images(tmp_path, ["elsewhere/1.jpg"])
    for folder in (str(tmp_path / "set"), ""):
        places = MaskPlaces(folder, [LABEL_IMAGES])
        assert places.find(str(image)) is None
        assert "outside of its set's folder" in places.looked_for(str(image))


def test_folders_are_listed_once(tmp_path, monkeypatch):
    images = write_images(tmp_path, [f"train/{number}.jpg" for number in range(9)])
    listed = []
    monkeypatch.setattr("os.listdir", lambda folder: listed.append(folder) or ["3.png"])
    items = MaskPlaces(str(tmp_path), [LABEL_IMAGES]).of_items([(str(image), "a", "b") for image in images])
    assert listed == [str(tmp_path / "masks/train")]
    assert [bool(fields_of(item)) for item in items] == [number == 3 for number in range(9)]
