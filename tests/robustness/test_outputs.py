"""No command replaces a file that it did not write, and where it cannot write it says so before any work."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from support.image_trees import market_tree

from mdpr_fastreid.bench import rerank
from mdpr_fastreid.cli import main
from mdpr_fastreid.compare.records import make_output
from mdpr_fastreid.data import check
from mdpr_fastreid.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    return market_tree(tmp_path / "own", train=3, images=3)


@pytest.fixture
def _no_work(monkeypatch):
    monkeypatch.setattr(check, "check", None)
    monkeypatch.setattr(rerank, "run", None)


def assert_refused(words, capsys, message):
    assert main([*map(str, words)]) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1


@pytest.mark.usefixtures("_no_work")
def test_an_image_of_the_set_is_not_replaced_by_a_sheet(folder, capsys):
    image = folder / "query/0101_c1s1_000000_00.png"
    before = image.read_bytes()
    assert_refused(["data", folder, "--sample", image], capsys, "was not written by this command")
    os.link(image, folder.parent / "link.png")
    assert_refused(["data", folder, "--sample", folder.parent / "link.png"], capsys, "was not written by this command")
    assert image.read_bytes() == before


@pytest.mark.usefixtures("_no_work")
def test_a_file_of_the_users_is_not_replaced_by_a_report(folder, tmp_path, capsys):
    (tmp_path / "own.json").write_text('[{"mine": 1}]')
    assert_refused(["data", folder, "--json", tmp_path / "own.json"], capsys, "was not written by this command")
    assert (tmp_path / "own.json").read_text() == '[{"mine": 1}]'


@pytest.mark.parametrize("name", ["sheet.png", "sheet.jpg", "sheet.webp", "sheet.tiff"])
def test_its_own_sheet_and_report_are_replaced(folder, tmp_path, name):
    words = ["data", str(folder), "--sample", str(tmp_path / name), "--json", str(tmp_path / "r.json")]
    assert main(words) == 0 and main(words) == 0
    with Image.open(tmp_path / name) as sheet:
        assert np.asarray(sheet.convert("RGB")).std() > 5
    assert json.loads((tmp_path / "r.json").read_text())[0]["findings"] == []


@pytest.mark.usefixtures("_no_work")
@pytest.mark.parametrize(
    ("option", "place", "message"),
    [
        ("--sample", "sheet.doc", ".doc names no image format to write"),
        ("--sample", "sheet", "no suffix names no image format to write"),
        ("--sample", "taken/sheet.png", "cannot be written"),
        ("--sample", "own.png", "it is a folder"),
        ("--json", "taken/r.json", "cannot be written"),
        ("--json", "pipe", "it is no regular file"),
        ("--json", f"{'r' * 300}.json", "File name too long"),
        ("--json", "r\0.json", "an argument has a NUL character"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_first(folder, tmp_path, capsys, option, place, message):
    (tmp_path / "taken").touch()
    (tmp_path / "own.png").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert_refused(["data", folder, option, tmp_path / place], capsys, message)


@pytest.mark.usefixtures("_no_work")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rerank.md", "my own notes", "belongs to no rerank.json"),
        ("rerank.json", '{"runs": [1]}', "is not a file of runs"),
        ("rerank.json", '{"runs": {}}', "is not a file of runs"),
        ("rerank.json", "[" * 100_000, "is not a file of runs"),
    ],
)
def test_a_benchmark_replaces_no_file_of_the_users(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_text(content)
    assert_refused(["bench", "rerank", "--output", tmp_path], capsys, message)
    assert (tmp_path / name).read_text() == content


@pytest.mark.usefixtures("_no_work")
def test_a_benchmark_says_first_that_it_cannot_write(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert_refused(["bench", "rerank", "--output", tmp_path / "file"], capsys, "cannot be written")
    os.mkfifo(tmp_path / "rerank.json")
    assert_refused(["bench", "rerank", "--output", tmp_path], capsys, "it is no regular file")


def test_more_features_than_memory_areassert_refused(tmp_path, capsys):
    words = ["bench", "rerank", "--n", 100_000_000_000, "--output", tmp_path]
    assert_refused(words, capsys, "100000000000 images with 4608 numbers each take")


@pytest.mark.parametrize("verb", ["synth", "data", "prepare"])
def test_a_root_with_a_nul_character_isassert_refused(verb, capsys):
    words = {"synth": ["--preset", "tiny"], "data": ["SynthReIDTiny"], "prepare": []}[verb]
    assert_refused([verb, *words, "--root", "a\0b"], capsys, "an argument has a NUL character")


def test_a_comparison_replaces_no_pages_of_another_folder(tmp_path):
    (tmp_path / "table.md").write_text("my own notes")
    with pytest.raises(UsageError, match=r"table\.md is of no comparison"):
        make_output(tmp_path)
    (tmp_path / "runs").mkdir()
    make_output(tmp_path)
    assert (tmp_path / "table.md").read_text() == "my own notes"
