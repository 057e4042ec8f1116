"""What ``mdpr data`` finds in sets of tracklets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.video_trees import mars_names, mars_tree, veri_tree

from mdpr_fastreid.cli import main
from mdpr_fastreid.data.check.tracklets import count_tracklets, tracklet_errors, tracklet_warnings
from mdpr_fastreid.data.datasets.mars import MARS
from mdpr_fastreid.data.datasets.veri_video import VeRi776Video
from mdpr_fastreid.data.tracklets import tracklet_item

WALKS = [(pid, camera, 1, 8) for pid in (1, 2) for camera in (1, 2)]
TESTED = [(pid, camera, 1, 8) for pid in (5, 7) for camera in (1, 2, 3)]


@pytest.fixture(autouse=True)
def uncounted(monkeypatch):
    """The miniature sets, without a finding for their size."""
    monkeypatch.setattr(MARS, "published", {})
    monkeypatch.setattr(VeRi776Video, "published", {})


@pytest.fixture
def report_of(tmp_path, capsys):
    def run(name, *words):
        code = main(["data", name, "--root", str(tmp_path), "--json", str(tmp_path / "r.json"), *words])
        report = json.loads((tmp_path / "r.json").read_text())[0]
        kinds = [(finding["level"], finding["kind"]) for finding in report["findings"]]
        return code, report, kinds, capsys.readouterr().out

    return run


@pytest.fixture
def mars(tmp_path):
    return mars_tree(tmp_path, WALKS, TESTED, [1, 4])


def test_a_whole_set_is_counted_in_tracklets_and_frames(mars, report_of):
    code, report, kinds, printed = report_of("MARS")
    assert (code, kinds) == (0, [])
    assert report["tracklets"]["train"] == {
        "tracklets": 4,
        "images": 0,
        "frames": 32,
        "frames_per_tracklet": [8, 8, 8],
    }
    assert [report["tracklets"][part]["tracklets"] for part in ("query", "gallery")] == [2, 6]
    assert report["splits"]["gallery"]["cameras"] == 3
    assert "frames a tracklet" in printed and "8 / 8 / 8" in printed and "nothing wrong" in printed


def test_damaged_and_missing_frames_are_errors(mars, report_of):
    names = mars_names(WALKS)
    (mars / "bbox_train/0001" / names[3]).write_bytes(b"")
    (mars / "bbox_train/0002" / names[20]).unlink()
    code, report, kinds, _ = report_of("MARS")
    assert (code, kinds) == (1, [("error", "damaged")] * 2)
    assert names[3] in report["findings"][0]["message"] and names[20] in report["findings"][1]["message"]


def test_a_frame_in_two_tracklets_is_an_error_and_a_query_in_the_gallery_is_none():
    one, two = ("a1.jpg", "a2.jpg", "a3.jpg"), ("b1.jpg", "a2.jpg", "a3.jpg")
    query, gallery = tracklet_item(one, 5, 0), [tracklet_item(one, 5, 0), tracklet_item(two, 5, 1)]
    assert tracklet_errors({"train": [], "query": [query], "gallery": gallery[:1]}) == []
    assert tracklet_errors({"train": [], "query": [query], "gallery": gallery}) == [
        ("frame in two tracklets", "a2.jpg and 1 more: in the tracklets of a1.jpg and b1.jpg")
    ]
    assert tracklet_errors({"train": [tracklet_item(("c.jpg", "d.jpg", "c.jpg"), 1, 0)]}) == [
        ("frame twice in a tracklet", "c.jpg")
    ]


def test_an_identity_with_one_tracklet_and_short_tracklets_are_warnings(tmp_path, report_of):
    mars_tree(tmp_path, [*WALKS, (3, 1, 1, 1), (4, 1, 1, 7), (4, 2, 2, 8)], TESTED, [1, 4])
    code, report, kinds, printed = report_of("MARS")
    assert code == 0
    assert kinds == [("warning", "identity with one training tracklet"), ("warning", "short tracklets")]
    assert "identity mars_3: " in report["findings"][0]["message"]
    message = "train: 2 of 7 have fewer than 8 frames; the shortest, "
    assert message in report["findings"][1]["message"] and "0003C1T0001F001.jpg, has 1" in printed


def test_a_query_without_a_match_is_an_error(tmp_path, report_of):
    mars_tree(tmp_path, WALKS, [*TESTED, (9, 1, 1, 8)], [1, 4, 7])
    code, report, kinds, _ = report_of("MARS")
    assert (code, kinds) == (1, [("error", "query without a match")])
    assert "0009C1T0001F001.jpg" in report["findings"][0]["message"]


def test_images_beside_tracklets_are_named():
    items = [tracklet_item(tuple("abcdefgh"), 1, 0), ("1.jpg", 1, 1)]
    assert tracklet_warnings({"train": items}) == [("image without a tracklet", "1.jpg")]
    assert tracklet_warnings({"train": items[1:]}) == [] and count_tracklets({"train": items[1:]}) == {}


def test_query_images_are_counted_apart_and_may_be_frames_of_their_own_identity_and_camera(tmp_path, report_of):
    folder = veri_tree(tmp_path)
    shutil.copy(folder / "image_test/0005_c003_00000080_0.jpg", folder / "image_query")
    code, report, kinds, printed = report_of("VeRi776Video")
    assert (code, {kind for _, kind in kinds}) == (0, {"short tracklets", "identity with one training tracklet"})
    assert report["tracklets"]["query"]["images"] == 3 and "images of their own" in printed
    shutil.copy(folder / "image_test/0005_c004_00000080_0.jpg", folder / "image_query/0005_c003_00000080_0.jpg")
    code, report, kinds, _ = report_of("VeRi776Video")
    assert (code, ("error", "duplicate across splits") in kinds) == (1, True)


def test_the_sheet_has_tracklets_in_rows(mars, report_of, tmp_path):
    code, *_, printed = report_of("MARS", "--sample", str(tmp_path / "sheet.png"))
    assert code == 0 and "sample: " in printed
    first = mars / "bbox_train/0001" / mars_names(WALKS)[0]
    second = Path(str(first).replace("F001", "F002"))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert (sheet.width, sheet.height) == (110 + 8 * 68 + 4, 22 + 8 * 132 + 4)
        for column, path in enumerate((first, second)):
            with Image.open(path) as frame:
                wanted = np.asarray(frame.convert("RGB").resize((64, 128), Image.Resampling.BICUBIC)).astype(int)
            left = 110 + 68 * column
            drawn = np.asarray(sheet.crop((left, 22, left + 64, 22 + 128))).astype(int)
            assert np.abs(drawn - wanted).mean() < 5
