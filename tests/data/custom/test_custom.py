"""``DATASETS.CUSTOM``: a user's folder in three layouts, split where it is not, and mistakes told in one line."""

import logging
import os
import shlex

import pytest
from fastreid.data.samplers import BalancedIdentitySampler
from small_runs import small_config
from support.image_trees import market_tree, write_images

from mdpr_fastreid.cli import main
from mdpr_fastreid.data import build_test_loader, build_train_loader
from mdpr_fastreid.data.custom import custom_class
from mdpr_fastreid.data.custom.naming import check_command
from mdpr_fastreid.data.custom.records import Record
from mdpr_fastreid.data.custom.splitting import with_splits
from mdpr_fastreid.errors import SettingsError, UsageError


def shop_config(tmp_path, folder, *options):
    names = ["DATASETS.CUSTOM", (("shop", str(folder)),), "DATASETS.NAMES", ("shop",), "DATASETS.TESTS", ("shop",)]
    return small_config(tmp_path, *names, "SOLVER.IMS_PER_BATCH", 8, *options)


def manifest(folder, text, files=("a0.png", "a1.png", "b0.png", "b1.png")):
    write_images(folder, files)
    (folder / "manifest.csv").write_text(text)
    return folder


ROWS = "a0.png,ann,door,query\na1.png,ann,hall,gallery\nb0.png,bob,door,train\nb1.png,bob,hall,train\n"


def test_loaders_and_samplers_take_a_market_folder_by_name(tmp_path):
    cfg = shop_config(tmp_path, market_tree(tmp_path / "own"), "DATALOADER.SAMPLER_TRAIN", "BalancedIdentitySampler")
    batch = next(iter(build_train_loader(cfg)))
    assert batch["images"].shape == (8, 3, 32, 16) and set(batch["targets"].tolist()) == {0, 1}
    loader, queries = build_test_loader(cfg, "shop")
    assert queries == 4 and len(loader.dataset) == 8


def test_another_config_may_give_the_name_another_folder(tmp_path):
    for count in (2, 3):
        cfg = shop_config(tmp_path, market_tree(tmp_path / str(count), train=count))
        assert build_train_loader(cfg).dataset.num_classes == count


def test_a_name_of_an_earlier_config_is_unknown_to_the_next(tmp_path):
    build_train_loader(shop_config(tmp_path, market_tree(tmp_path / "own")))
    cfg = shop_config(tmp_path, tmp_path / "own", "DATASETS.CUSTOM", (("other", str(tmp_path / "own")),))
    with pytest.raises(UsageError, match="nothing is registered as 'shop'"):
        build_train_loader(cfg)


def test_the_command_that_a_message_names_opens_the_folder(tmp_path, monkeypatch):
    """Whether relative to the data root, with a space in its name, or with cameras in the names of its files."""
    write_images(tmp_path / "my shop", [f"{name}/cam{camera}.png" for name in "abcd" for camera in (1, 2)])
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    cfg = shop_config(tmp_path, "my shop", "DATASETS.CUSTOM_CAMERA_PATTERN", r"cam(\d)")
    words = shlex.split(check_command(cfg, ("shop",)))
    assert words == ["mdpr", "data", str(tmp_path / "my shop"), "--camera-pattern", r"cam(\d)"]
    assert main(words[1:]) == 0
    assert check_command(cfg, ("Market1501",)) == "mdpr data Market1501"


def test_market_names_give_cameras_from_zero_and_keep_distractors_unlabelled(tmp_path):
    folder = market_tree(tmp_path / "own", train=1, test=1)
    write_images(folder / "bounding_box_test", ["0000_c1s1_000001_00.png", "-1_c1s1_000002_00.png"])
    data = custom_class("shop", folder)()
    assert [item[1:] for item in data.train] == [("shop_1", f"shop_{camera}") for camera in (0, 0, 1, 1)]
    assert [item[1:] for item in data.query] == [(2, 0), (2, 1)]
    assert sorted(item[1:] for item in data.gallery) == [(0, 0), (2, 0), (2, 1)]


def test_identity_folders_without_cameras_lose_nothing_in_the_ranking(tmp_path):
    write_images(tmp_path, [f"{name}/{number}.png" for name in "abcd" for number in range(3)])
    data = custom_class("shop", tmp_path)()
    assert (data.get_num_pids(data.train), len(data.query), len(data.gallery)) == (2, 2, 4)
    assert len({item[2] for item in data.query + data.gallery}) == 6


def test_a_pattern_takes_cameras_from_the_file_names(tmp_path):
    write_images(tmp_path, [f"{name}/cam{camera}.png" for name in "abcd" for camera in (2, 10)])
    data = custom_class("shop", tmp_path, r"cam(\d+)")()
    assert {item[2] for item in data.query + data.gallery} == {0, 1}
    with pytest.raises(UsageError, match=r"finds no camera in its name"):
        custom_class("shop", tmp_path, r"view(\d+)")()


def test_split_folders_hold_identity_folders(tmp_path):
    write_images(tmp_path, ["train/a/0.png", "query/b/0.png", "gallery/b/1.png"])
    data = custom_class("shop", tmp_path)()
    assert [len(part) for part in (data.train, data.query, data.gallery)] == [1, 1, 1]


def test_a_manifest_names_everything_masks_included(tmp_path):
    rows = "".join(f"{row},{row.split(',')[0]},{9 - i}\n" for i, row in enumerate(ROWS.split()))
    folder = manifest(tmp_path, "path,identity,camera,split,mask,frame\n" + rows)
    data = custom_class("shop", folder)()
    assert data.query == [(str(tmp_path / "a0.png"), 1, 0)]
    assert data.query[0].fields == {"mask": str(tmp_path / "a0.png")}
    assert [os.path.basename(item.fields["mask"]) for item in data.train] == ["b0.png", "b1.png"]
    assert [item[1:3] for item in data.train] == [("shop_2", "shop_0"), ("shop_2", "shop_1")]
    sampler = BalancedIdentitySampler(data.train, 2, 2, seed=0)
    assert sorted(index for index, _ in zip(iter(sampler), range(2), strict=False)) == [0, 1]


def test_a_missing_split_is_made_from_names_alone_and_said(tmp_path, caplog):
    folders = []
    for place in ("here", "there"):
        write_images(
            tmp_path / place, [f"p{n}/{place[-1]}{n}.png" for n in range(6)] + [f"p{n}/x.png" for n in range(6)]
        )
        with caplog.at_level(logging.WARNING):
            folders.append({item[1] for item in custom_class("shop", tmp_path / place)().train})
    assert folders[0] == folders[1] and len(folders[0]) == 3
    assert "shop has no split of its own: 3 of 6 identities" in caplog.text


def test_every_query_that_is_chosen_has_a_match_and_no_identity_is_in_both():
    records = [Record(f"{i}-{c}-{n}.png", str(i), str(c)) for i in range(9) for c in range(i % 3 + 1) for n in range(2)]
    given, _ = with_splits(records)
    train = {record.identity for record in given if record.split == "train"}
    test = [record for record in given if record.split != "train"]
    assert len(train) == 4 and not train & {record.identity for record in test}
    for query in (record for record in test if record.split == "query"):
        assert any(g.identity == query.identity and g.camera != query.camera for g in test if g.split == "gallery")
    assert given == with_splits(records)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,camera\na0.png,1\n", "has no column 'identity'; its columns: path, camera"),
        ("", "has no column 'path'; its columns: none"),
        ("path,identity,camara\na0.png,1,1\n", "column 'camara'; did you mean 'camera'"),
        ("path;identity\na0.png;1\n", "is separated by ';'; save it with commas"),
        ("path,identity,identity\na0.png,1,2\n", "has the column 'identity' twice"),
        ("path,identity\n", "has no images, only its first line"),
        ("path,identity,frame\na0.png,1,²\n", "frame '²' is no whole number"),
        ("path,identity\nnone.png,1\n", r"line 2: .*none\.png does not exist"),
        ("path,identity\na0.png,\n", "line 2: path or identity is empty"),
        ("path,identity,split\na0.png,1,val\n", "line 2: split 'val' is none of train, query"),
        ("path,identity\na0.png,1,2\n", "line 2: more fields than columns"),
        ("path,identity,frame\na0.png,1,x\n", "frame 'x' is no whole number"),
        ("path,identity\na0.png,1\na0.png,1\n", r"line 3: .*stands in line 2 already"),
        ("path,identity,split\na0.png,1,train\nb0.png,1,\n", r"b0\.png has no split, yet 1 other"),
        ("path,identity\na0.png,1\na1.png,1\n", r"one identity \(1\) cannot be split"),
        ("path,identity,camera,split\na0.png,1,1,query\na1.png,1,1,gallery\n", "none of its 1 queries has a gallery"),
    ],
)
def test_a_manifest_that_cannot_work_is_one_line(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        custom_class("shop", manifest(tmp_path, text))()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["\ufeff" + "path,identity,camera,split\r\n" + ROWS, " Path, Identity ,CAMERA,split\n" + ROWS]
)
def test_a_manifest_as_a_spreadsheet_saves_it_is_read(tmp_path, text):
    data = custom_class("shop", manifest(tmp_path, text))()
    assert [len(part) for part in (data.train, data.query, data.gallery)] == [2, 1, 1]


def test_files_that_are_left_out_are_warned_of(tmp_path, caplog):
    names = [f"{name}/{number}.png" for name in "ab" for number in range(2)]
    write_images(tmp_path, [*names, "a/more/2.png", "b/3.gif", "-1/4.png", ".trash/5.png"])
    (tmp_path / "a/Thumbs.db").touch()
    with caplog.at_level(logging.WARNING):
        data = custom_class("shop", tmp_path)()
    assert data.left_out == [tmp_path / "a/more/2.png", tmp_path / "b/3.gif"]
    assert (
        f"shop: 2 files are left out, as they are not named as images are or lie too deep, e.g. {tmp_path}/a/more/2.png"
        in caplog.text
    )
    assert len(data.train + data.query + data.gallery) == 4


def test_market_folders_leave_out_what_lies_in_them_only(tmp_path):
    folder = market_tree(tmp_path)
    write_images(folder, ["gt_bbox/1.png", "query/more/0101_c1s1_000009_00.png", "query/0101_c1s1_000008_00.gif"])
    left = custom_class("shop", folder)().left_out
    assert left == [folder / "query/0101_c1s1_000008_00.gif", folder / "query/more/0101_c1s1_000009_00.png"]


def test_queries_without_a_match_warn_and_the_others_count(tmp_path, caplog):
    text = "path,identity,camera,split\na0.png,a,1,query\na1.png,a,2,gallery\nb0.png,b,1,query\nb1.png,c,2,gallery\n"
    with caplog.at_level(logging.WARNING):
        custom_class("shop", manifest(tmp_path, text))()
    assert "1 of 2 queries have no gallery image" in caplog.text and "b0.png" in caplog.text


@pytest.mark.parametrize(
    ("custom", "message"),
    [
        (("shop", "/data/shop"), "is one pair, or none, without the tuple around it"),
        ((("shop",),), "tuple of pairs"),
        ((("Market1501", "/data"),), "Market1501 is a registered data set already"),
        ((("shop", "/a"), ("shop", "/b")), "names shop twice"),
    ],
)
def test_custom_of_another_shape_or_a_taken_name_is_one_line(tmp_path, custom, message):
    with pytest.raises(SettingsError, match=message):
        build_train_loader(small_config(tmp_path, "DATASETS.CUSTOM", custom))


@pytest.mark.parametrize(("pattern", "message"), [("cam(", "no regular expression"), ("cam", "needs one group")])
def test_a_wrong_pattern_is_one_line(tmp_path, pattern, message):
    with pytest.raises(UsageError, match=message):
        custom_class("shop", market_tree(tmp_path), pattern)()


def test_an_empty_or_missing_folder_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="holds no images in a known layout"):
        custom_class("shop", tmp_path)()
    with pytest.raises(UsageError, match="nowhere is no folder"):
        custom_class("shop", tmp_path / "nowhere")()
    with pytest.raises(UsageError, match=rf"shop: there is no folder no/where in .+ or {tmp_path}$"):
        custom_class("shop", "no/where")(root=str(tmp_path))
