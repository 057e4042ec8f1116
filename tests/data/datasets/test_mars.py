"""MARS: what its tables and lists say becomes tracklets, and what does not fit is one line."""

import logging

import numpy as np
import pytest
import scipy.io
from fastreid.data.datasets import DATASET_REGISTRY
from small_runs import small_config
from support.video_trees import MARS_TEST, MARS_TRAIN, mars_names, mars_rows, mars_tree

from mdpr_fastreid.data import build_train_loader
from mdpr_fastreid.data.custom.dataset import queries_without_match
from mdpr_fastreid.data.datasets.counts import TrackletCount
from mdpr_fastreid.data.datasets.mars import MARS
from mdpr_fastreid.data.tracklets import frames_of
from mdpr_fastreid.errors import UsageError


class WithoutQueries(MARS):
    queries_in_gallery = False


def load(root, **kwargs):
    return DATASET_REGISTRY.get("MARS")(root=str(root), **kwargs)


def assert_refused(root, message):
    with pytest.raises(UsageError, match=message) as caught:
        load(root)
    assert "\n" not in str(caught.value)


def test_rows_are_tracklets_with_all_their_frames_in_order(tmp_path):
    folder = mars_tree(tmp_path)
    data = load(tmp_path)
    names = mars_names(MARS_TRAIN)
    files = [str(folder / "bbox_train" / name[:4] / name) for name in names]
    assert data.train == [
        (files[0], "mars_1", "mars_0"),
        (files[3], "mars_1", "mars_1"),
        (files[4], "mars_2", "mars_0"),
    ]
    assert [frames_of(item) for item in data.train] == [tuple(files[:3]), (files[3],), tuple(files[4:])]


def test_junk_is_dropped_and_distractors_and_queries_stay_in_the_gallery(tmp_path):
    mars_tree(tmp_path)
    data = load(tmp_path)
    assert [item[1:] for item in data.query] == [(5, 2), (7, 1), (7, 3)]
    assert [item[1:] for item in data.gallery] == [(pid, camera - 1) for pid, camera, *_ in MARS_TEST if pid != -1]
    assert set(data.query) < set(data.gallery)
    assert all(frames_of(item)[0] == item[0] for item in data.query)


def test_a_query_may_have_no_match_until_the_queries_join_the_gallery(tmp_path):
    mars_tree(tmp_path, test=[(5, 1, 1, 1), (5, 2, 1, 1), (6, 1, 1, 1), (6, 2, 1, 1)], queries=[1, 3, 4])
    assert queries_without_match(load(tmp_path).query, load(tmp_path).gallery) == []
    apart = WithoutQueries(root=str(tmp_path))
    assert [item[1] for item in apart.gallery] == [5]
    assert [path[-19:-15] for path in queries_without_match(apart.query, apart.gallery)] == ["0006", "0006"]


def test_combining_trains_on_each_test_tracklet_once(tmp_path):
    mars_tree(tmp_path)
    data = load(tmp_path, combineall=True)
    assert len(data.train) == len(MARS_TRAIN) + sum(pid > 0 for pid, *_ in MARS_TEST)


def test_counts_are_compared_as_tracklets(tmp_path, caplog, monkeypatch):
    mars_tree(tmp_path)
    with caplog.at_level(logging.WARNING):
        load(tmp_path)
    assert (
        "gallery has 6 tracklets of 3 identities here, 11,310 tracklets of 635 identities as published" in caplog.text
    )
    caplog.clear()
    counts = {"train": TrackletCount(2, 3), "query": TrackletCount(2, 3), "gallery": TrackletCount(3, 6)}
    monkeypatch.setattr(MARS, "published", counts)
    with caplog.at_level(logging.WARNING):
        load(tmp_path)
    assert caplog.text == ""


def test_frames_that_are_not_there_are_counted_and_the_set_still_loads(tmp_path, caplog):
    folder = mars_tree(tmp_path)
    (folder / "bbox_train/0001/0001C1T0001F002.jpg").unlink()
    (folder / "bbox_test/0007/0007C4T0003F001.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        assert len(load(tmp_path).train) == 3
    assert f"MARS: 2 of 18 images are not in {folder}, the first one {folder}/bbox_train/0001/0001C1" in caplog.text
    assert "extract the set anew" in caplog.text and "mdpr data MARS" in caplog.text


def test_training_on_a_missing_frame_is_one_line(tmp_path, monkeypatch):
    folder = mars_tree(tmp_path)
    for path in folder.glob("bbox_train/*/*.jpg"):
        path.unlink()
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    cfg = small_config(tmp_path, "DATASETS.NAMES", ("MARS",), "INPUT.FIELDS", ("clip",), "SOLVER.IMS_PER_BATCH", 8)
    with pytest.raises(UsageError, match=r"bbox_train/000.*\.jpg.*`mdpr data MARS` lists all damaged images"):
        next(iter(build_train_loader(cfg)))


@pytest.mark.parametrize("table", ["tracks_train_info", "tracks_test_info", "query_IDX"])
@pytest.mark.parametrize("left", [0, 1, 100, 130, 160, -20, -1])
def test_a_truncated_table_is_named(tmp_path, table, left):
    path = mars_tree(tmp_path) / f"info/{table}.mat"
    path.write_bytes(path.read_bytes()[:left])
    assert_refused(tmp_path, rf"{table}\.mat (is damaged, or no MATLAB file|has no variable)")


@pytest.mark.parametrize(
    "content", [b"<html>sign in</html>", b"MATLAB 7.3 MAT-file" + bytes(493) + b"\x89HDF\r\n\x1a\n"]
)
def test_a_table_of_another_kind_is_named(tmp_path, content):
    (mars_tree(tmp_path) / "info/tracks_test_info.mat").write_bytes(content)
    assert_refused(tmp_path, r"tracks_test_info\.mat is damaged, or no MATLAB file up to version 7")


def test_a_missing_variable_is_named_with_those_that_are_there(tmp_path):
    folder = mars_tree(tmp_path)
    (folder / "info/tracks_train_info.mat").write_bytes((folder / "info/tracks_test_info.mat").read_bytes())
    assert_refused(
        tmp_path, r"tracks_train_info\.mat has no variable 'track_train_info'; its variables: track_test_info"
    )


@pytest.mark.parametrize(
    "table",
    [np.ones((3, 3)), np.full((3, 4), 1.5), np.array([["a", "b"]]), np.full((3, 4), np.nan), np.ones((2, 2, 4))],
)
def test_a_table_of_another_shape_or_type_is_named(tmp_path, table):
    folder = mars_tree(tmp_path)
    scipy.io.savemat(folder / "info/tracks_train_info.mat", {"track_train_info": table})
    assert_refused(tmp_path, r"tracks_train_info\.mat: track_train_info is .* not whole numbers in 4 columns")


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (2, 1, 7, r"row 3: frames 5 to 7 of the 6 in .*train_name\.txt"),
        (0, 0, 0, r"row 1: frames 0 to 3 of the 6"),
        (0, 1, 0, r"row 1: frames 1 to 0 of the 6"),
        (1, 3, 7, r"row 2: identity 1 under camera 7, where cameras are 1 to 6"),
        (1, 2, 9, r"row 2: identity 9 under one camera, yet line 4 of .* is 0001C2T0002F001\.jpg"),
        (1, 1, 5, r"row 2: identity 1 under one camera, yet line 5 of .* is 0002C1T0001F001\.jpg"),
        (0, 1, 4, r"row 1: identity 1 under one camera, yet line 4 of .* is 0001C2T0002F001\.jpg"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, row, column, value, message):
    folder = mars_tree(tmp_path)
    rows = mars_rows(MARS_TRAIN).astype(np.int64)
    rows[row, column] = value
    scipy.io.savemat(folder / "info/tracks_train_info.mat", {"track_train_info": rows})
    assert_refused(tmp_path, message + r".*use the lists and tables of one release")


def test_cameras_of_the_table_count_and_others_in_the_names_are_a_warning(tmp_path, caplog):
    folder = mars_tree(tmp_path)
    rows = mars_rows(MARS_TRAIN).astype(np.int64)
    rows[1, 3] = 5
    scipy.io.savemat(folder / "info/tracks_train_info.mat", {"track_train_info": rows})
    assert MARS(str(tmp_path)).train[1][2] == "mars_4"
    assert "1 rows name another camera than their frames' names do, the first is row 2" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda names: names[:-1], r"tracks_test_info\.mat, row 7: frames 13 to 14 of the 13 in .*test_name\.txt"),
        (lambda names: names[1:] + names[:1], r"tracks_test_info\.mat, row 1: .* line 2 of .* is 0005C3T0002F001\.jpg"),
        (lambda names: ["portrait.jpg", *names[1:]], r"test_name\.txt, line 1: 'portrait\.jpg' is not like"),
        (lambda names: ["00-1C1T0001F001.jpg", *names[1:]], r"row 1: .* line 1 of .* is 00-1C1T0001F001\.jpg"),
    ],
)
def test_a_list_of_names_that_does_not_fit_is_named(tmp_path, change, message):
    (mars_tree(tmp_path) / "info/test_name.txt").write_text("\n".join(change(mars_names(MARS_TEST))))
    assert_refused(tmp_path, message)


@pytest.mark.parametrize(
    ("entry", "message"), [(0, "entry 2, 0, is not among the 7"), (8, "8, is not among"), (7, "entry 2, 7, is junk")]
)
def test_a_query_that_is_no_tracklet_is_named(tmp_path, entry, message):
    mars_tree(tmp_path, queries=[1, entry])
    assert_refused(tmp_path, rf"query_IDX\.mat: .*{message}")


@pytest.mark.parametrize("name", ["bbox_test", "info/train_name.txt", "info/query_IDX.mat"])
def test_a_missing_part_says_who_knows_more(tmp_path, name):
    path = mars_tree(tmp_path) / name
    path.rename(tmp_path / "away")
    assert_refused(tmp_path, rf"{name} is not there.*mdpr prepare MARS")
