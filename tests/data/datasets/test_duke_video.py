"""DukeMTMC-VideoReID: a folder is a tracklet, under the names of either release."""

import logging
import shutil
from pathlib import Path

import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from support.image_trees import write_images
from support.video_trees import DUKE_GALLERY, DUKE_TRAIN, duke_video_tree

from mdpr_fastreid.data.datasets.duke_video import DukeMTMCVideoReID
from mdpr_fastreid.data.tracklets import frames_of
from mdpr_fastreid.errors import UsageError


class Merged(DukeMTMCVideoReID):
    merge_cameras = True


def load(root):
    return DATASET_REGISTRY.get("DukeMTMCVideoReID")(root=str(root))


@pytest.mark.parametrize("underscores", [True, False])
def test_folders_are_tracklets_under_both_kinds_of_names(tmp_path, underscores):
    folder = duke_video_tree(tmp_path, underscores)
    data = load(tmp_path)
    labels = [(f"dukevideo_{pid}", f"dukevideo_{camera - 1}") for pid, _, camera, _ in DUKE_TRAIN]
    assert [item[1:] for item in data.train] == labels
    assert [item[1:] for item in data.query] == [(9, 0)]
    assert [item[1:] for item in data.gallery] == [(8, 1), (9, 0), (9, 3), (9, 3), (9, 0)]
    assert [len(frames_of(item)) for item in data.train] == [frames for *_, frames in DUKE_TRAIN]
    first = sorted((folder / "train/0001/0003").iterdir())
    assert data.train[0][0] == str(first[0]) and frames_of(data.train[0]) == tuple(map(str, first))


def test_frames_are_in_order_of_their_numbers(tmp_path):
    folder = duke_video_tree(tmp_path)
    write_images(folder / "train/0007/0001", [f"0007_C1_F{number}_X{number}.jpg" for number in (10_000, 9, 9_999)])
    assert [Path(path).name.split("_")[2] for path in frames_of(load(tmp_path).train[-1])] == ["F9", "F9999", "F10000"]


def test_neighbouring_tracklets_of_a_camera_are_merged_if_asked_for(tmp_path):
    duke_video_tree(tmp_path)
    merged = Merged(root=str(tmp_path))
    assert [(item[1:], len(frames_of(item))) for item in merged.gallery] == [
        ((8, 1), 2),
        ((9, 0), 2),
        ((9, 3), 5),
        ((9, 0), 1),
    ]
    of_merged = [path for item in merged.gallery for path in frames_of(item)]
    assert of_merged == [path for item in load(tmp_path).gallery for path in frames_of(item)]


def test_counts_are_compared_as_tracklets(tmp_path, caplog):
    duke_video_tree(tmp_path)
    with caplog.at_level(logging.WARNING):
        load(tmp_path)
    here = f"{len(DUKE_GALLERY)} tracklets of 2 identities here"
    assert f"gallery has {here}, 2,636 tracklets of 1,110 identities as published" in caplog.text


def test_a_folder_that_is_no_tracklet_is_named(tmp_path):
    folder = duke_video_tree(tmp_path)
    (folder / "train/0002/0009").mkdir()
    with pytest.raises(UsageError, match=r"train/0002/0009 holds no frames; extract the set anew"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("portrait.jpg", r"portrait\.jpg is not named as the set's frames are, e\.g\. 0001_C6_F0099_X30823\.jpg"),
        ("0003_C1_F0009_X9.jpg", r"0003_C1_F0009_X9\.jpg and .* lie in one tracklet's folder, yet are of two"),
        ("0002_C7_F0009_X9.jpg", r"0002_C7_F0009_X9\.jpg and .* lie in one tracklet's folder, yet are of two"),
    ],
)
def test_a_frame_that_does_not_belong_is_named(tmp_path, name, message):
    write_images(duke_video_tree(tmp_path) / "train/0002/0005", [name])
    with pytest.raises(UsageError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("part", ["train", "query", "gallery"])
def test_a_missing_part_is_named(tmp_path, part):
    shutil.rmtree(duke_video_tree(tmp_path) / part)
    with pytest.raises(UsageError, match=rf"DukeMTMC-VideoReID/{part} is not there.*mdpr prepare DukeMTMCVideoReID"):
        load(tmp_path)
