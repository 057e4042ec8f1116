"""``mdpr data``: what it counts, what it finds, and that it fails when something is wrong."""

import json
import shutil

import pytest
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


def test_damage_is_listed(folder, tmp_path, capsys):
    (folder / "query/0101_c1s1_000000_00.png").write_bytes(b"")
    assert kinds(folder, tmp_path) == (1, {("error", "damaged")})
    assert "query/0101_c1s1_000000_00.png" in capsys.readouterr().out


def test_an_identity_in_train_and_test_is_an_error(folder, tmp_path):
    write_images(folder, ["bounding_box_train/0101_c1s1_000009_00.png"], seed=9)
    assert kinds(folder, tmp_path) == (1, {("error", "identity in train and test")})


def test_a_query_without_a_match_is_an_error(folder, tmp_path):
    write_images(folder, ["query/0900_c1s1_000009_00.png"], seed=9)
    assert kinds(folder, tmp_path) == (1, {("error", "query without a match")})


@pytest.mark.parametrize("same", ["bytes", "pixels"])
@pytest.mark.parametrize(
    ("copy", "code", "level", "where"),
    [
        ("bounding_box_test/0101", 1, "error", "across splits"),
        ("bounding_box_train/0001", 0, "warning", "within a split"),
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


@pytest.mark.parametrize(("name", "message"), [("Market1510", "did you mean Market1501"), ("no/where", "is no folder")])
def test_an_unknown_name_is_one_line(capsys, name, message):
    assert main(["data", name]) == 2
    assert message in capsys.readouterr().err
