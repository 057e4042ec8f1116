"""VeRi-776 as a video set: query images, a gallery of tracks, training tracklets by identity and camera."""

import logging
from pathlib import Path

import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from support.video_trees import VERI_QUERY, VERI_TRACKS, VERI_TRAIN, veri_tree

from mdpr_fastreid.data.datasets.counts import Count, FrameCount, TrackletCount
from mdpr_fastreid.data.datasets.veri_video import VeRi776Video
from mdpr_fastreid.data.tracklets import frames_of, is_tracklet
from mdpr_fastreid.errors import UsageError


def load(root):
    return DATASET_REGISTRY.get("VeRi776Video")(root=str(root))


def test_a_training_tracklet_is_all_images_of_an_identity_under_a_camera(tmp_path):
    folder = veri_tree(tmp_path)
    # A later frame number has more digits before the box's number, and the list has it first
    (folder / "name_train.txt").write_text((folder / "name_train.txt").read_text() + "0001_c001_00000000_0.jpg\n")
    (folder / "image_train/0001_c001_00000000_0.jpg").write_bytes(b"")
    data = load(tmp_path)
    assert [item[1:] for item in data.train] == [
        (f"verivideo_{pid}", f"verivideo_{camera - 1}") for pid, camera, _ in VERI_TRAIN
    ]
    assert [len(frames_of(item)) for item in data.train] == [4, 1, 2]
    assert [Path(path).name for path in frames_of(data.train[0])] == [
        f"0001_c001_{8 * time:08d}_0.jpg" for time in range(4)
    ]
    assert all(map(is_tracklet, data.train))


def test_the_gallery_is_the_tracks(tmp_path):
    folder = veri_tree(tmp_path)
    data = load(tmp_path)
    assert [(item[1], item[2] + 1, len(frames_of(item))) for item in data.gallery] == [
        (pid, camera, frames) for pid, camera, _, frames in VERI_TRACKS
    ]
    listed = [line.split()[1:] for line in (folder / "test_track.txt").read_text().splitlines()]
    assert [[Path(path).name for path in frames_of(item)] for item in data.gallery] == listed


def test_a_track_may_have_the_name_of_its_first_image_or_none(tmp_path):
    folder = veri_tree(tmp_path)
    wanted = [frames_of(item) for item in load(tmp_path).gallery]
    lines = [line.split()[1:] for line in (folder / "test_track.txt").read_text().splitlines()]
    for named in ([[line[0], *line] for line in lines], lines):
        (folder / "test_track.txt").write_text("\n".join(" ".join(line) for line in named))
        assert [frames_of(item) for item in load(tmp_path).gallery] == wanted


def test_a_query_is_an_image_with_the_first_track_of_its_identity_and_camera(tmp_path):
    folder = veri_tree(tmp_path)
    data = load(tmp_path)
    assert [(item[1], item[2] + 1) for item in data.query] == VERI_QUERY
    assert all(Path(item[0]).parent == folder / "image_query" for item in data.query)
    assert [frames_of(item) for item in data.query] == [frames_of(data.gallery[track]) for track in (0, 2, 3)]
    assert not any(map(is_tracklet, data.query))


def test_a_query_without_a_track_is_its_own_and_said(tmp_path, caplog):
    folder = veri_tree(tmp_path)
    lines = (folder / "test_track.txt").read_text().splitlines()
    (folder / "test_track.txt").write_text("\n".join(lines[3:]))
    with caplog.at_level(logging.WARNING):
        query = load(tmp_path).query
    assert "2 of 3 queries have no track of their identity and camera, e.g. " in caplog.text
    assert frames_of(query[0]) == (query[0][0],)


def test_training_is_counted_in_images_queries_too_and_the_gallery_in_tracks(tmp_path, caplog, monkeypatch):
    veri_tree(tmp_path)
    with caplog.at_level(logging.WARNING):
        load(tmp_path)
    assert "train has 6 images in tracklets of 2 identities here, 37,778 images in tracklets of 576" in caplog.text
    assert "query has 3 images of 2 identities here" in caplog.text
    assert "gallery has 5 tracklets of 2 identities here" in caplog.text
    counts = {"train": FrameCount(2, 6), "query": Count(2, 3), "gallery": TrackletCount(2, 5)}
    monkeypatch.setattr(VeRi776Video, "published", counts)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        load(tmp_path)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("name_train.txt", "portrait.jpg", r"name_train\.txt, line 7: 'portrait\.jpg' is not like '0001_c001_0"),
        ("name_query.txt", "0001.jpg", r"name_query\.txt, line 4: '0001\.jpg' is not like"),
        ("test_track.txt", "0005_c003_9", r"test_track\.txt, line 6: a track without images"),
        ("test_track.txt", "0005_c003_9 1.jpg", r"test_track\.txt, line 6: '1\.jpg' is not like"),
        (
            "test_track.txt",
            "0005_c003_9 0005_c003_00000000_0.jpg 0005_c004_00000000_0.jpg",
            r"line 6: images of two identities or cameras; use the list of the set's own release",
        ),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path, file, line, message):
    path = veri_tree(tmp_path) / file
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(UsageError, match=message):
        load(tmp_path)


def test_images_that_lists_name_and_that_are_not_there_are_counted(tmp_path, caplog):
    folder = veri_tree(tmp_path)
    for path in ("image_query/0006_c003_00000080_0.jpg", "image_test/0006_c020_00000088_0.jpg"):
        (folder / path).unlink()
    with caplog.at_level(logging.WARNING):
        load(tmp_path)
    assert f"2 of 17 images are not in {folder}, the first one {folder}/image_query/0006" in caplog.text


@pytest.mark.parametrize("name", ["image_test", "name_train.txt", "name_query.txt", "test_track.txt"])
def test_a_missing_part_is_named(tmp_path, name):
    (veri_tree(tmp_path) / name).rename(tmp_path / "away")
    with pytest.raises(UsageError, match=rf"{name} is not there.*mdpr prepare VeRi776Video"):
        load(tmp_path)
