"""``mdpr data``: what it counts, what it finds, and that it fails when something is wrong."""

import json
import os
import re
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image
from support.image_trees import market_tree, write_images
from support.mask_files import write_fields, write_labels

from mdpr_fastreid.cli import main
from mdpr_fastreid.data.masks import PART_GROUPS
from mdpr_fastreid.data.masks.overlay import colour_of


@pytest.fixture
def folder(tmp_path):
    return market_tree(tmp_path / "own", train=3, images=3)


def kinds(folder, tmp_path):
    code = main(["data", str(folder), "--json", str(tmp_path / "r.json")])
    findings = json.loads((tmp_path / "r.json").read_text())[0]["findings"]
    return code, {(finding["level"], finding["kind"]) for finding in findings}


def test_a_whole_set_is_counted_and_shown(folder, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert main(["data", str(folder), "--sample", str(sheet), "--json", str(tmp_path / "r.json")]) == 0
    assert "nothing wrong" in capsys.readouterr().out
    train = json.loads((tmp_path / "r.json").read_text())[0]["splits"]["train"]
    assert (train["identities"], train["images"], train["cameras"]) == (3, 18, 2)
    assert (train["images_per_identity"], train["width"], train["height"]) == ([6, 6, 6], [16, 16], [32, 32])
    with Image.open(sheet) as image, Image.open(folder / "bounding_box_train/0001_c1s1_000000_00.png") as first:
        # the first training identity's first image stands below the first camera's label, four times its size
        assert image.getpixel((110 + 1, 22 + 1)) == pytest.approx(first.getpixel((0, 0)), abs=60)


def test_the_embedded_set_has_nothing_wrong(capsys):
    assert main(["data", "SynthReIDTiny", "--root", os.environ["FASTREID_DATASETS"]]) == 0
    assert "nothing wrong" in capsys.readouterr().out


def test_the_sheet_writes_the_users_names_accents_included(tmp_path):
    labels = []
    for name in ("Müller", "Möller"):
        write_images(tmp_path / name, [f"train/{name}/1.png"])
        assert main(["data", str(tmp_path / name), "--sample", str(tmp_path / "sheet.png")]) == 0
        with Image.open(tmp_path / "sheet.png") as sheet:
            labels.append(sheet.crop((0, 22, 110, 150)).tobytes())
    assert labels[0] != labels[1]


@pytest.mark.parametrize("name", ["张伟", "\ue000"])
def test_a_name_that_no_font_can_write_is_its_number_and_told(tmp_path, capsys, monkeypatch, name):
    fonts = Path(matplotlib.get_data_path()) / "fonts/ttf"
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(fonts / "STIXNonUni.ttf"), "no font"])
    (tmp_path / "no font").touch()
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "own", ["train/anna/1.png", f"train/{name}/1.png"])
    assert main(["data", str(tmp_path / "own"), "--sample", str(tmp_path / "sheet.png")]) == 0
    assert ("2 is 张伟" in capsys.readouterr().out) == (name == "张伟")  # of the two, STIX has the other


def test_damage_is_listed(folder, tmp_path, capsys):
    (folder / "query/0101_c1s1_000000_00.png").write_bytes(b"")
    assert kinds(folder, tmp_path) == (1, {("error", "damaged")})
    assert "query/0101_c1s1_000000_00.png" in capsys.readouterr().out


def test_masks_of_a_manifest_are_decoded_and_measured(tmp_path):
    images = write_images(tmp_path, [f"{number}.png" for number in range(4)])
    masks = [write_labels(tmp_path / f"masks/{n}.png", np.ones((32, wide))) for n, wide in enumerate((16, 16, 8))]
    masks[1].write_bytes(masks[1].read_bytes()[:60])
    rows = [f"{path.name},anna,door{n},train,{masks[n].relative_to(tmp_path)}" for n, path in enumerate(images[:3])]
    text = ["path,identity,camera,split,mask", *rows, "3.png,-1,door1,train,masks/1.png"]
    (tmp_path / "manifest.csv").write_text("\n".join(text) + "\n")
    assert main(["data", str(tmp_path), "--json", str(tmp_path / "r.json")]) == 1
    findings = json.loads((tmp_path / "r.json").read_text())[0]["findings"]
    assert [finding["kind"] for finding in findings] == ["damaged mask", "mask of another size"]
    assert "masks/1.png: " in findings[0]["message"]
    assert "masks/2.png: 8x32, its image 16x32" in findings[1]["message"]


@pytest.fixture
def masked(folder):
    """The folder with ATR's masks, and two of the gallery's images without one."""
    for number, image in enumerate(sorted(folder.glob("*/*.png"))):
        if number > 1 or image.parent.name != "bounding_box_test":
            labels = np.zeros((32, 16))
            labels[:8], labels[24:] = 11, 10 if image.parent.name == "query" else 0
            write_labels(folder / "masks/atr" / image.relative_to(folder), labels)
    return folder


def report_of(folder, tmp_path, *words):
    code = main(["data", str(folder), "--json", str(tmp_path / "r.json"), *words])
    return code, json.loads((tmp_path / "r.json").read_text())[0]


def test_masks_are_counted_with_the_parts_that_they_show(masked, tmp_path, capsys):
    code, report = report_of(masked, tmp_path, "--groups", "atr", "--mask-folder", "atr")
    splits = report["masks"]["splits"]
    assert (code, report["masks"]["groups"]) == (0, "atr")
    assert [(split["with"], split["without"]) for split in splits.values()] == [(18, 0), (4, 0), (6, 2)]
    assert splits["train"]["visible"] == {"head": 1, "torso": 0, "legs": 0, "shoes": 0, "bag": 0}
    assert splits["query"]["visible"] == {"head": 1, "torso": 0, "legs": 0, "shoes": 1, "bag": 0}
    found = [(finding["level"], finding["kind"]) for finding in report["findings"]]
    assert found == [("warning", "image without a mask")] * 2 + [("warning", "part never shown")] * 4
    assert report["findings"][4]["message"] == "no training mask shows shoes, of part grouping atr: it cannot be learnt"
    printed = capsys.readouterr().out
    assert "masks, grouping atr (behind a part" in printed
    assert re.search(r"^shoes +0\.00 +1\.00 +0\.00$", printed, re.MULTILINE)
    assert "image without a mask: 2" in printed


def test_without_a_grouping_parts_are_labels(masked, tmp_path):
    _, report = report_of(masked, tmp_path, "--mask-folder", "atr")
    assert report["masks"]["splits"]["query"]["visible"] == {"label 10": 1, "label 11": 1}
    assert report["masks"]["splits"]["train"]["visible"] == {"label 10": 0, "label 11": 1}


def test_masks_in_another_folder_are_none(masked, tmp_path, capsys):
    code, report = report_of(masked, tmp_path)
    assert (code, report["masks"], report["findings"]) == (0, {}, [])
    assert "images with a mask" not in capsys.readouterr().out


def test_labels_that_the_grouping_does_not_have_are_errors(masked, tmp_path, capsys):
    bad = next((masked / "masks/atr/query").iterdir())
    write_labels(bad, np.full((32, 16), 18))
    code, report = report_of(masked, tmp_path, "--groups", "atr", "--mask-folder", "atr")
    errors = [finding for finding in report["findings"] if finding["level"] == "error"]
    assert (code, [error["kind"] for error in errors]) == (1, ["label outside the table"])
    assert f"{bad}: label 18 is not in the table" in errors[0]["message"]
    assert report_of(masked, tmp_path, "--groups", "lip", "--mask-folder", "atr")[0] == 0


def test_confidence_fields_are_counted_and_checked(folder, tmp_path, capsys):
    images = sorted(folder.glob("*/*.png"))
    place = folder / "masks/pifpaf_maskrcnn_filtering"
    masks = [write_fields(place / image.parent.name / f"{image.stem}.npy", 1) for image in images]
    assert report_of(folder, tmp_path)[0] == 0
    assert "--groups pifpaf_eight or pifpaf_five_v counts their parts" in capsys.readouterr().out
    np.save(masks[0], np.zeros((17, 3, 3)))
    (masks[1].parent / masks[1].name).unlink()
    code, report = report_of(folder, tmp_path, "--groups", "pifpaf_eight")
    assert code == 1
    assert [finding["kind"] for finding in report["findings"]] == ["damaged mask", "image without a mask"]
    visible = report["masks"]["splits"]["train"]["visible"]
    assert list(visible) == list(PART_GROUPS.get("pifpaf_eight").parts) and visible["head"] == 1
    code, report = report_of(folder, tmp_path, "--groups", "atr")
    assert (code, report["masks"], [found["kind"] for found in report["findings"]]) == (0, {}, ["no masks"])
    assert re.search(r"for .*\.png there is no .*\.png in .*/masks/", report["findings"][0]["message"])


def test_the_sheet_shows_masks_in_colours_beside_the_images(masked, tmp_path):
    words = ["data", str(masked), "--sample", str(tmp_path / "sheet.png")]
    assert main(words) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        plain = sheet.copy()
    assert main([*words, "--groups", "atr", "--mask-folder", "atr"]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == plain.width + 2 * 65 and sheet.height > plain.height
        left, top = 110 + 65, 22
        grey, head = (np.asarray(sheet)[top + row, left + 5 : left + 60].astype(int) for row in (80, 10))
        assert (np.ptp(grey, axis=1) == 0).all() and (np.ptp(head, axis=1) > 60).all()
        assert colour_of(1) in set(map(tuple, np.asarray(sheet)[plain.height :].reshape(-1, 3).tolist()))


def test_an_unknown_grouping_is_one_line(folder, capsys):
    assert main(["data", str(folder), "--groups", "atrr"]) == 2
    error = capsys.readouterr().err
    assert "did you mean atr" in error and error.count("\n") == 1


def test_an_identity_in_train_and_test_is_an_error(folder, tmp_path):
    write_images(folder, ["bounding_box_train/0101_c1s1_000009_00.png"], seed=9)
    assert kinds(folder, tmp_path) == (1, {("error", "identity in train and test")})


def test_a_query_without_a_match_is_an_error(folder, tmp_path):
    write_images(folder, ["query/0900_c1s1_000009_00.png"], seed=9)
    assert kinds(folder, tmp_path) == (1, {("error", "query without a match")})


@pytest.mark.parametrize(("images", "pattern"), [(1, ""), (3, r"c(\d)")])
def test_a_test_set_without_queries_is_an_error(tmp_path, images, pattern):
    """One image an identity, or all of one camera: nothing that could be evaluated."""
    write_images(tmp_path / "own", [f"{name}/c1_{number}.png" for name in "abcd" for number in range(images)])
    code = main(["data", str(tmp_path / "own"), "--camera-pattern", pattern, "--json", str(tmp_path / "r.json")])
    findings = json.loads((tmp_path / "r.json").read_text())[0]["findings"]
    assert (code, [finding["kind"] for finding in findings]) == (1, ["no query images"])


def test_a_set_to_train_on_only_is_nothing_wrong(tmp_path):
    write_images(tmp_path / "own", ["train/a/1.png", "train/b/1.png"])
    assert kinds(tmp_path / "own", tmp_path) == (0, set())


def test_files_that_are_no_images_by_name_or_lie_too_deep_are_listed(tmp_path):
    write_images(tmp_path / "own", [*(f"{name}/{n}.png" for name in "ab" for n in range(2)), "a/more/1.png"])
    assert kinds(tmp_path / "own", tmp_path) == (
        0,
        {("warning", "left out, as not named as an image is or in a folder too deep")},
    )


def test_identities_are_called_by_the_users_names(tmp_path, capsys):
    write_images(tmp_path, [f"{part}/anna/{part}.png" for part in ("train", "query", "gallery")])
    assert main(["data", str(tmp_path)]) == 1
    assert f"identity anna: {tmp_path}/train/anna/train.png and " in capsys.readouterr().out


@pytest.mark.parametrize("same", ["bytes", "pixels"])
@pytest.mark.parametrize(
    ("copy", "code", "level", "where"),
    [
        ("bounding_box_test/0101", 1, "error", "across splits"),
        ("bounding_box_train/0001", 0, "warning", "within a split"),
        ("bounding_box_train/0002", 1, "error", "under two identities"),
    ],
)
def test_duplicates_fail_across_splits_and_warn_within_one(folder, tmp_path, capsys, same, copy, code, level, where):
    original, copied = folder / "bounding_box_train/0001_c1s1_000000_00.png", folder / f"{copy}_c1s1_000077_00.png"
    shutil.copy(original, copied) if same == "bytes" else Image.open(original).save(copied, compress_level=0)
    assert kinds(folder, tmp_path) == (code, {(level, f"duplicate {where}")})
    assert f"same {same}: " in capsys.readouterr().out


def test_published_counts_are_compared(tmp_path, capsys):
    market_tree(tmp_path / "Market-1501-v15.09.15")
    assert main(["data", "Market1501", "--root", str(tmp_path)]) == 1
    assert "train has 0 images of 0 identities, 12,936 images of 751 identities as published" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["Market1501", "OccludedDuke", "MSMT17"])
def test_a_set_that_is_not_there_is_one_line(tmp_path, capsys, name):
    assert main(["data", name, "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"mdpr prepare {name}" in error and "FASTREID_DATASETS" in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Market1510"], "did you mean Market1501"),
        (["no/where"], "'no/where' is no folder"),
        ([__file__], "is no folder"),
        ([""], "'' is no folder"),
        ([".", "--workers", "0"], "--workers 0: give at least 1"),
    ],
)
def test_what_cannot_be_opened_is_one_line(capsys, words, message):
    assert main(["data", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_folder_that_may_not_be_read_is_one_line(tmp_path, capsys, monkeypatch):
    """As for anybody but root, who runs tests in containers."""

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", lambda self, **_: refuse(self))
    assert main(["data", str(tmp_path / "within")]) == 2
    assert "within' is no folder" in capsys.readouterr().err
