"""The data sets of the papers, read from miniature trees with their folders and file names."""

import logging

import numpy as np
import pytest
import scipy.io
from fastreid.data.common import CommDataset
from fastreid.data.datasets import DATASET_REGISTRY
from small_runs import small_config
from support.image_trees import write_images

from mdpr_fastreid.data import Item, build_train_loader
from mdpr_fastreid.data.datasets.base import ItemDataset, PublishedDataset
from mdpr_fastreid.data.datasets.counts import Count
from mdpr_fastreid.errors import UsageError

CUHK_PARTS = ("bounding_box_train/0001_c1_1.png", "query/0002_c2_1.png", "bounding_box_test/0002_c1_2.png")
MSMT_FILES = ["0000/0000_000_01_0303morning_0015_0.jpg", "0000/0000_001_15_0303noon_0040_1.jpg"]

# name: (files, training, query, gallery), items as (file, identity, camera) without the prefix of training
TREES = {
    "OccludedDuke": (
        [
            "Occluded_Duke/bounding_box_train/0001_c2_f0046182.jpg",
            "Occluded_Duke/query/0005_c8_f0000001.jpg",
            "Occluded_Duke/bounding_box_test/0005_c1_f0000002.jpg",
            "Occluded_Duke/bounding_box_test/-1_c1_f3.jpg",
        ],
        [(0, 1, 1)],
        [(1, 5, 7)],
        [(2, 5, 0)],
    ),
    "PDukeMTMC": (
        [
            "P-DukeMTMC-reID/train/occluded_body_images/0001/0001_c2_f01.jpg",
            "P-DukeMTMC-reID/train/whole_body_images/0001/0001_c3_f02.jpg",
            "P-DukeMTMC-reID/test/occluded_body_images/0009/0009_c1_f03.jpg",
            "P-DukeMTMC-reID/test/whole_body_images/0009/0009_c8_f04.jpg",
        ],
        [(0, 1, 1), (1, 1, 2)],
        [(2, 9, 0)],
        [(3, 9, 7)],
    ),
    "OccludedReID": (
        ["Occluded_REID/occluded_body_images/001/001_01.tif", "Occluded_REID/whole_body_images/001/001_06.tif"],
        [],
        [(0, 1, 0)],
        [(1, 1, 1)],
    ),
    "CUHK03Labeled": ([f"cuhk03-np/labeled/{part}" for part in CUHK_PARTS], [(0, 1, 0)], [(1, 2, 1)], [(2, 2, 0)]),
    "CUHK03Detected": ([f"cuhk03-np/detected/{part}" for part in CUHK_PARTS], [(0, 1, 0)], [(1, 2, 1)], [(2, 2, 0)]),
    "SynergyReID": (
        [
            "synergyreid/reid_training/0007_3_1.jpeg",
            "synergyreid/reid_test/query/0002_1_0.jpeg",
            "synergyreid/reid_test/gallery/0002_1_5.jpeg",
        ],
        [(0, 7, 0)],
        [(1, 2, 0)],
        [(2, 2, 1)],
    ),
    "SynergyReIDChallenge": (
        ["synergyreid/reid_challenge/query/0001.jpeg", "synergyreid/reid_challenge/gallery/0001.jpeg"],
        [],
        [(0, -1, 0)],
        [(1, -2, 1)],
    ),
}


def load(name, root):
    return DATASET_REGISTRY.get(name)(root=str(root))


@pytest.mark.parametrize("name", TREES)
def test_identities_and_zero_based_cameras_come_from_the_names(name, tmp_path):
    files, train, query, gallery = TREES[name]
    paths = [str(path) for path in write_images(tmp_path, files)]
    data = load(name, tmp_path)
    prefix = data.dataset_name + "_"
    assert data.train == [(paths[i], f"{prefix}{pid}", f"{prefix}{camera}") for i, pid, camera in train]
    assert data.query == [(paths[i], pid, camera) for i, pid, camera in query]
    assert data.gallery == [(paths[i], pid, camera) for i, pid, camera in gallery]


@pytest.mark.parametrize(("name", "folders"), [("MSMT17V1", "train test"), ("MSMT17V2", "mask_train_v2 mask_test_v2")])
def test_msmt17_reads_the_version_asked_for_as_the_toolbox_does(name, folders, tmp_path):
    root = tmp_path / name.replace("17", "17_")
    for folder in folders.split():
        write_images(root / folder, MSMT_FILES)
    for part, line in (("train", 0), ("val", 1), ("query", 0), ("gallery", 1)):
        (root / f"list_{part}.txt").write_text(f"{MSMT_FILES[line]} 0\n")
    ours, stock = load(name, tmp_path), load("MSMT17", tmp_path)
    train, test = folders.split()
    assert ours.train == [(str(root / train / MSMT_FILES[0]), f"{ours.dataset_name}_0", f"{ours.dataset_name}_0")]
    assert ours.query == stock.query == [(str(root / test / MSMT_FILES[0]), 1, 0)]  # 1: another person than train's 0
    assert ours.gallery == stock.gallery == [(str(root / test / MSMT_FILES[1]), 1, 14)]


def test_cuhk03_reads_the_protocols_file(tmp_path):
    names = ["1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_2_06.png"]
    write_images(tmp_path / "cuhk03/images_detected", names)
    scipy.io.savemat(
        tmp_path / "cuhk03/cuhk03_new_protocol_config_detected.mat",
        {
            "filelist": np.array([[name] for name in names], dtype=object),
            "labels": [[1], [1], [2], [2]],
            "train_idx": [[1], [2]],
            "query_idx": [[4]],
            "gallery_idx": [[3]],
        },
    )
    data = load("CUHK03Detected", tmp_path)
    folder = tmp_path / "cuhk03/images_detected"
    assert [item[1:] for item in data.train] == [(f"cuhk03detected_{1}", f"cuhk03detected_{view}") for view in (0, 1)]
    assert data.query == [(str(folder / names[3]), 2, 1)]
    assert data.gallery == [(str(folder / names[2]), 2, 0)]


def test_cuhk03_ready_split_is_found_beside_the_raw_file(tmp_path):
    (tmp_path / "cuhk03/cuhk03_release").mkdir(parents=True)
    write_images(tmp_path, [f"cuhk03-np/labeled/{part}" for part in CUHK_PARTS])
    assert len(load("CUHK03Labeled", tmp_path).train) == 1


def test_a_protocol_file_of_another_kind_is_named(tmp_path):
    write_images(tmp_path / "cuhk03/images_labeled", ["1_001_1_01.png"])
    protocol = tmp_path / "cuhk03/cuhk03_new_protocol_config_labeled.mat"
    for content in (b"not MATLAB", b""):
        protocol.write_bytes(content)
        with pytest.raises(UsageError, match=r"config_labeled\.mat is not a file of the 767/700 protocol"):
            load("CUHK03Labeled", tmp_path)


def test_images_that_are_still_in_the_raw_file_say_what_extracts_them(tmp_path):
    (tmp_path / "cuhk03").mkdir()
    (tmp_path / "cuhk03/cuhk03_new_protocol_config_labeled.mat").touch()
    with pytest.raises(
        UsageError, match=r"images_labeled is not there\. The toolbox's own data set CUHK03 extracts it"
    ):
        load("CUHK03Labeled", tmp_path)


@pytest.mark.parametrize("name", [*TREES, "MSMT17V1", "MSMT17V2"])
def test_a_missing_folder_says_where_it_belongs_and_who_tells_more(name, tmp_path):
    with pytest.raises(UsageError) as caught:
        load(name, tmp_path)
    folder = DATASET_REGISTRY.get(name).folders[0]
    for part in (name, str(tmp_path / folder), "FASTREID_DATASETS", f"mdpr prepare {name}"):
        assert part in str(caught.value)


def test_a_missing_part_is_named(tmp_path):
    (tmp_path / "Occluded_Duke/bounding_box_train").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"Occluded_Duke/query is not there"):
        load("OccludedDuke", tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("OccludedDuke", "Occluded_Duke/bounding_box_train/portrait.jpg"),
        ("PDukeMTMC", "P-DukeMTMC-reID/train/occluded_body_images/0001/portrait.jpg"),
        ("PDukeMTMC", "P-DukeMTMC-reID/train/occluded_body_images/somebody/0001_c1.jpg"),
        ("SynergyReID", "synergyreid/reid_training/portrait.jpeg"),
    ],
)
def test_a_file_of_another_name_is_told(name, file, tmp_path):
    write_images(tmp_path, [*TREES[name][0], file])
    with pytest.raises(UsageError, match="portrait|somebody"):
        load(name, tmp_path)


def test_a_line_that_lists_no_image_is_told(tmp_path):
    (tmp_path / "MSMT17_V1/train").mkdir(parents=True)
    (tmp_path / "MSMT17_V1/list_train.txt").write_text(f"{MSMT_FILES[0]} 0\n0000/portrait.jpg\n")
    with pytest.raises(UsageError, match=r"list_train\.txt, line 2: '0000/portrait\.jpg' is not like"):
        load("MSMT17V1", tmp_path)


def test_counts_that_are_not_the_published_ones_warn_with_both(tmp_path, caplog):
    write_images(tmp_path, TREES["OccludedDuke"][0])
    with caplog.at_level(logging.WARNING):
        load("OccludedDuke", tmp_path)
    assert "query has 1 images of 1 identities here, 2,210 images of 519 identities as published" in caplog.text


class Counted(PublishedDataset):
    folders = ("counted",)
    published = {"train": Count(2, 3)}  # noqa: RUF012

    def splits(self, folder):
        return [("a", 1, 0), ("b", 1, 1), ("c", 2, 0)], [], []


def test_the_published_counts_warn_of_nothing(tmp_path, caplog):
    (tmp_path / "counted").mkdir()
    with caplog.at_level(logging.WARNING):
        assert len(Counted(root=str(tmp_path)).train) == 3
    assert not caplog.records


def test_sets_trained_on_together_keep_their_identities_and_cameras_apart(tmp_path):
    for name in ("OccludedDuke", "PDukeMTMC"):  # both have an identity 1 and a camera 2
        write_images(tmp_path, TREES[name][0])
    both = CommDataset(load("OccludedDuke", tmp_path).train + load("PDukeMTMC", tmp_path).train)
    assert (both.num_classes, both.num_cameras) == (2, 3)


def test_training_on_a_test_set_is_one_line(tmp_path, monkeypatch):
    write_images(tmp_path, TREES["OccludedReID"][0])
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    with pytest.raises(UsageError, match=r"OccludedReID has no training images: it belongs in DATASETS\.TESTS"):
        build_train_loader(small_config(tmp_path, "DATASETS.NAMES", ("OccludedReID",)))


def test_combining_leaves_out_distractors_and_keeps_what_items_carry():
    masks = {"mask": "mask.png"}
    query = [Item("q", 5, 0, masks)]
    gallery = [Item("g", 5, 1, masks), Item("d", 0, 1, masks)]
    data = ItemDataset([Item("t", 5, 0, masks)], query, gallery, combineall=True)
    assert [item[1] for item in data.train] == ["_5", "_test_5", "_test_5"]
    assert [item.fields for item in data.train] == [masks] * 3
