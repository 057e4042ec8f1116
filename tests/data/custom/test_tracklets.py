"""A manifest's column ``tracklet``: its rows become tracklets, split as wholes."""

import pytest
from small_runs import small_config
from support.image_trees import write_images

from mdpr_fastreid.cli import main
from mdpr_fastreid.data import build_test_loader, build_train_loader
from mdpr_fastreid.data.custom import custom_class
from mdpr_fastreid.data.items import fields_of
from mdpr_fastreid.data.tracklets import frames_of, is_tracklet
from mdpr_fastreid.errors import UsageError


def manifest(folder, rows, columns="path,identity,camera,split,tracklet,frame"):
    write_images(folder, [row.split(",")[0] for row in rows])
    (folder / "manifest.csv").write_text("\n".join([columns, *rows]) + "\n")
    return folder


def walks(split, identity, cameras, frames=3):
    return [
        f"{identity}/{camera}/{number}.png,{identity},{camera},{split},{camera}-1,{number}"
        for camera in cameras
        for number in range(frames)
    ]


ROWS = [
    *walks("train", "ann", ("door", "hall")),
    *walks("train", "bob", ("door", "hall"), 9),
    *walks("query", "cat", ("door",)),
    *walks("gallery", "cat", ("hall", "yard")),
]


def test_rows_that_name_a_tracklet_are_one_item_with_its_frames(tmp_path):
    data = custom_class("shop", manifest(tmp_path, ROWS[::-1]))()
    assert [len(part) for part in (data.train, data.query, data.gallery)] == [4, 1, 2]
    assert frames_of(data.train[0]) == tuple(str(tmp_path / f"ann/door/{number}.png") for number in range(3))
    assert data.query == [(str(tmp_path / "cat/door/0.png"), 3, 0)]
    assert all(map(is_tracklet, data.train + data.query + data.gallery))


def test_frames_without_a_number_follow_those_in_their_names(tmp_path):
    rows = [f"walk/{name}.png,ann,train,a" for name in ("f10", "f9", "f1")] + ["b.png,bob,train,b"]
    data = custom_class("shop", manifest(tmp_path, rows, "path,identity,split,tracklet"))()
    assert [path.rpartition("/")[2] for path in frames_of(data.train[0])] == ["f1.png", "f9.png", "f10.png"]


def test_an_image_beside_tracklets_is_one_by_itself_and_masks_are_kept(tmp_path):
    rows = [*ROWS, "photo.png,cat,yard,query,,"]
    rows = [f"{row},{row.split(',')[0]}" for row in rows]
    data = custom_class("shop", manifest(tmp_path, rows, "path,identity,camera,split,tracklet,frame,mask"))()
    assert [frames_of(item) for item in data.query][1] == (str(tmp_path / "photo.png"),)
    assert fields_of(data.query[0])["mask"] == data.query[0][0]


def test_a_manifest_without_the_column_has_images(tmp_path):
    rows = ["a0.png,ann,door,query", "a1.png,ann,hall,gallery"]
    data = custom_class("shop", manifest(tmp_path, rows, "path,identity,camera,split"))()
    assert not any(map(frames_of, data.query + data.gallery))


def test_tracklets_are_split_as_wholes(tmp_path):
    rows = [row for name in "abcd" for row in walks("", name, ("door", "hall"))]
    data = custom_class("shop", manifest(tmp_path, rows))()
    items = data.train + data.query + data.gallery
    assert [len(part) for part in (data.train, data.query, data.gallery)] == [4, 2, 2]
    assert {len(frames_of(item)) for item in items} == {3}
    assert len({path for item in items for path in frames_of(item)}) == len(rows)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x.png,ann,yard,train,door-1,7", r"'door-1' of identity 'ann' has two cameras: door of .*, yard of .*x\.png"),
        ("x.png,ann,,train,door-1,7", r"has two cameras: door of .*, none of .*x\.png; give two tracklets two names"),
        ("x.png,ann,door,gallery,door-1,7", r"'ann' has two splits: train of .*, gallery of .*x\.png"),
    ],
)
def test_a_tracklet_of_two_cameras_or_splits_is_one_line(tmp_path, row, message):
    with pytest.raises(UsageError, match=message) as caught:
        custom_class("shop", manifest(tmp_path, [*ROWS, row]))()
    assert "\n" not in str(caught.value)


def test_loaders_and_the_check_take_them(tmp_path, capsys):
    folder = manifest(tmp_path / "own", ROWS)
    names = ["DATASETS.CUSTOM", (("shop", str(folder)),), "DATASETS.NAMES", ("shop",), "DATASETS.TESTS", ("shop",)]
    cfg = small_config(tmp_path, *names, "SOLVER.IMS_PER_BATCH", 4, "INPUT.FIELDS", ("clip",))
    assert next(iter(build_train_loader(cfg)))["clips"].shape[:2] == (4, cfg.INPUT.CLIP.FRAMES)
    loader, queries = build_test_loader(cfg, "shop")
    assert (queries, len(loader.dataset)) == (1, 3)
    assert main(["data", str(folder)]) == 0
    assert "train: 2 of 4 have fewer than 8 frames; the shortest, " in capsys.readouterr().out
