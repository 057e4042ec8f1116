"""Manifests of folders of one's own that cannot be read, or hold numbers that no one means."""

import os

import pytest
from support.image_trees import write_images

from mdpr_fastreid.cli import main

_LONG = "9" * 5000


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "own", [f"train/{who}/{number}.png" for who in ("1", "2") for number in range(3)])
    return tmp_path / "own"


def _manifest(folder, *lines):
    (folder / "manifest.csv").write_text("\n".join(["path,identity,camera,frame,split", *lines]) + "\n")


@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "nowhere", "folder"])
def test_a_manifest_that_is_no_regular_file_is_refused(folder, kind, capsys):
    manifest = folder / "manifest.csv"
    if kind == "pipe":
        os.mkfifo(manifest)
    elif kind == "folder":
        manifest.mkdir()
    else:
        manifest.symlink_to({"device": "/dev/zero", "loop": "manifest.csv", "nowhere": "none.csv"}[kind])
    assert main(["data", str(folder)]) == 2
    printed = capsys.readouterr().err
    assert "manifest.csv is no regular file" in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"train/1/0.png,1,1,{_LONG},", "is no whole number of at most 18 digits"),
        ("train/1/0.png,1,1,-1,", "is no whole number of at most 18 digits"),
        (f"{'a' * 5000}.png,1,1,1,", "does not exist"),
        ("train/1/0\0.png,1,1,1,", "manifest.csv"),
    ],
)
def test_a_line_that_cannot_be_meant_is_one_line(folder, line, message, capsys):
    _manifest(folder, line)
    assert main(["data", str(folder)]) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1


def test_an_identity_of_thousands_of_digits_is_a_name(folder, capsys):
    _manifest(folder, f"train/1/0.png,{_LONG},1,,train", "train/1/1.png,12,1,,train", "train/2/0.png,2,1,,train")
    assert main(["data", str(folder)]) == 0
    assert "nothing wrong" in capsys.readouterr().out
