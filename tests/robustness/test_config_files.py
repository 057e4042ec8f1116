"""Config files that are damaged, go in circles or hide something."""

import os

import pytest
from robustness.entry_points import assert_raises_one_line, assert_refused, files_in, on_linux, train_net

from mdpr_fastreid.config import read_config

DEEP = 3000
FILES = {
    "empty": (b"", "is empty, or no mapping"),
    "a number": (b"3\n", "is empty, or no mapping"),
    "a list": (b"[1, 2]\n", "is empty, or no mapping"),
    "bytes": (b"\xff\xfe\x00", "cannot be read as YAML"),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0", "cannot be read as YAML"),
    "a control character": (b"SEED: \x1b[31m\n", "cannot be read as YAML"),
    "its own base": (b"_BASE_: file.yml\n", "_BASE_ goes in a circle: file.yml -> file.yml"),
    "a base that is no text": (b"_BASE_: [a, b]\n", "_BASE_ must be the path of one file"),
    "an empty base": (b"_BASE_: ''\n", "_BASE_ must be the path of one file"),
    "a base that is not there": (b"_BASE_: none.yml\n", "none.yml does not exist"),
    "a base with a NUL": (b'_BASE_: "a\\0b"\n', "is no path, as it has a NUL"),
    "a base that is an address": (b"_BASE_: https://nowhere.invalid/b.yml\n", "is an address"),
    "a base with a long name": (b"_BASE_: " + b"x" * 300 + b"\n", "File name too long"),
    "a deep list": (b"SOLVER: {STEPS: " + b"[" * DEEP + b"]" * DEEP + b"}\n", "nested too deeply"),
    "brackets": (b"[" * DEEP, "nested too deeply"),
    "a list of itself": (b"SOLVER:\n  STEPS: &s [*s]\n", "SOLVER.STEPS must be a list"),
    "a section of itself": (b"SOLVER: &s\n  STEPS: [*s]\n", "SOLVER.STEPS must be a list"),
    "an anchor that is not there": (b"SOLVER: *none\n", "cannot be read as YAML"),
    "code": (b"SEED: !!python/object/apply:os.mkdir ['made']\n", "cannot be read as YAML"),
    "code as text": (b'SOLVER: {MAX_EPOCH: \'__import__("os").mkdir("made")\'}\n', "SOLVER.MAX_EPOCH cannot be"),
    "a key twice": (b"SEED: 1\nSEED: 2\n", "SEED is there twice, in lines 1 and 2"),
    "a section twice": (b"MODEL: {DEVICE: cpu}\nMODEL: {WEIGHTS: a}\n", "MODEL is there twice, in lines 1 and 2"),
    "a whole name as a key": (b"MODEL.DEVICE: cpu\n", "DEVICE stands in the section MODEL"),
    "a key of none": (b"MODEL: {DEVICE: }\n", "MODEL.DEVICE must be text, got None"),
    "a section that is a number": (b"MODEL: 3\n", "MODEL is a section of keys and cannot be 3"),
    "a key that is a section": (b"SEED: {A: 1}\n", "SEED is a key and has no keys of its own"),
    "a number as a key": (b"1: 2\n", "no key 1"),
    "a list as a key": (b"? [a, b]\n: 3\n", "cannot be read as YAML"),
    "a mapping as a key": (b"? {a: b}\n: 3\n", "cannot be read as YAML"),
    "two documents": (b"SEED: 1\n---\nSEED: 2\n", "cannot be read as YAML"),
    "a colon too many": (b"SEED: 1: 2\n", "cannot be read as YAML"),
    "a tab": (b"MODEL:\n\tDEVICE: cpu\n", "cannot be read as YAML"),
    "a number of thousands of digits": (b"SEED: " + b"9" * 5000 + b"\n", "cannot be read as YAML"),
    "a date": (b"SOLVER: {BASE_LR: 2020-01-01}\n", "SOLVER.BASE_LR cannot be"),
    "no date": (b"SOLVER: {BASE_LR: 2020-99-01}\n", "cannot be read as YAML"),
    "not a number": (b"SOLVER: {BASE_LR: .nan}\n", "SOLVER.BASE_LR must be a number greater than 0, got nan"),
    "infinity": (b"SOLVER: {BASE_LR: .inf}\n", "SOLVER.BASE_LR must be a number greater than 0, got inf"),
    "bytes as a value": (b"MODEL: {WEIGHTS: !!binary aGVsbG8=}\n", "MODEL.WEIGHTS cannot be"),
    "a set": (b"SOLVER: {STEPS: !!set {a, b}}\n", "SOLVER.STEPS cannot be"),
    "a wrong value merged in": (b"<<: {SOLVER: {BASE_LR: -1.0}}\n", "SOLVER.BASE_LR must be"),
    "yes as a number": (b"SOLVER: {MAX_EPOCH: yes}\n", "SOLVER.MAX_EPOCH"),
    "a letter that looks like another": ("MODEL: {DEVIСE: cpu}\n".encode(), "no letters but a to z"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_config_file_with(kind, capsys, tmp_path, monkeypatch):
    content, words = FILES[kind]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.yml").write_bytes(content)
    before = files_in(tmp_path)
    assert_refused(train_net(["--config-file", "file.yml"], capsys), words)
    assert files_in(tmp_path) == before


def test_bases_that_go_in_a_circle(tmp_path):
    (tmp_path / "a.yml").write_text("_BASE_: b.yml\n")
    (tmp_path / "b.yml").write_text("_BASE_: c.yml\n")
    (tmp_path / "c.yml").write_text(f"_BASE_: ../{tmp_path.name}/a.yml\n")
    assert_raises_one_line(lambda: read_config(tmp_path / "a.yml"), "a.yml -> b.yml -> c.yml -> a.yml")


@pytest.mark.skipif(not on_linux(), reason="pipes and devices")
@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device", "link to itself", "folder"])
def test_a_config_that_is_no_regular_file(kind, tmp_path):
    path = tmp_path / "c.yml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = "/dev/zero"
    else:
        path.symlink_to("/dev/zero" if "device" in kind else path)
    assert_raises_one_line(lambda: read_config(path), str(path))
