"""Tracklets are listed whole and in order."""

import pytest

from mdpr_fastreid.data.tracklets import list_tracklets


@pytest.mark.parametrize(("folder", "pids"), [("bbox_train", {1, 2, 3, 4}), ("bbox_test", {7, 8, 9, 10})])
def test_tracklets_of_a_rendered_set(micro_set, folder, pids):
    walks = list_tracklets(micro_set / "tracklets" / folder)
    assert {walk.pid for walk in walks} == pids and len(walks) == 4
    for walk in walks:
        assert [path[-8:] for path in walk.paths] == ["F001.jpg", "F002.jpg", "F003.jpg"]
        assert 0 <= walk.camid < 6 and f"C{walk.camid + 1}T" in walk.paths[0]


def test_frames_are_in_order_of_number_and_junk_is_left_out(tmp_path):
    (tmp_path / "0002").mkdir()
    for name in (
        "0002C1T0001F010",
        "0002C1T0001F009",
        "0002C1T0001F1000",
        "0002C3T0001F001",
        "00-1C1T0001F001",
        "notes",
    ):
        (tmp_path / "0002" / f"{name}.jpg").write_bytes(b"")
    first, second = list_tracklets(tmp_path)
    assert [path[-9:-4].lstrip("1F") for path in first.paths] == ["009", "010", "000"]
    assert (first.camid, second.camid, second.pid) == (0, 2, 2)


def test_a_missing_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        list_tracklets(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no frames"):
        list_tracklets(tmp_path)
