"""``mdpr data``: what it counts, what it finds, and that it fails when something is wrong."""

import json
import os
import shutil
from pathlib import Path

import matplotlib
import pytest
from matplotlib import font_manager
from PIL import Image
from support.image_trees import market_tree, write_images

from mdpr_fastreid.cli import main


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
    masks = write_images(tmp_path / "masks", ["0.png", "1.png"], seed=1)
    masks += write_images(tmp_path / "masks", ["2.png"], size=(8, 32), seed=2)
    masks[1].write_bytes(masks[1].read_bytes()[:60])
    rows = [f"{path.name},anna,door{n},train,{masks[n].relative_to(tmp_path)}" for n, path in enumerate(images[:3])]
    text = ["path,identity,camera,split,mask", *rows, "3.png,-1,door1,train,masks/1.png"]
    (tmp_path / "manifest.csv").write_text("\n".join(text) + "\n")
    assert main(["data", str(tmp_path), "--json", str(tmp_path / "r.json")]) == 1
    findings = json.loads((tmp_path / "r.json").read_text())[0]["findings"]
    assert [finding["kind"] for finding in findings] == ["damaged mask", "mask of another size"]
    assert "masks/1.png: " in findings[0]["message"]
    assert "masks/2.png: 8x32, its image 16x32" in findings[1]["message"]


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
