"""``mdpr synth`` as typed by a user."""

import logging

import numpy as np
import pytest
from PIL import Image

from mdpr_fastreid import progress
from mdpr_fastreid.cli import main
from mdpr_fastreid.data.synth import read_manifest

SMALL = ["--preset", "tiny", "--size", "64x32", "--workers", "1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("command")
    assert main(["synth", *SMALL, "--root", str(root)]) == 0
    return root


def test_rendering_again_verifies_and_does_nothing(root, capsys):
    assert main(["synth", *SMALL, "--root", str(root)]) == 0
    printed = capsys.readouterr()
    assert "synthreid-tiny: verified, 256 in bounding_box_train, 32 in query, 208 in bounding_box_test" in printed.out


def test_progress_has_an_estimate_and_knobs_reach_the_manifest(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(logging.getLogger("fastreid"), "disabled", True)  # a log, if there is one, would take the lines
    words = ["--workers", "2", "--root", str(tmp_path), "--set", "occlusion=0.6", "--set", "look_alikes=3"]
    assert main(["synth", "--preset", "tiny", "--size", "32x16", *words]) == 0
    printed = capsys.readouterr()
    assert "rendered" in printed.out
    assert "rendering synthreid-tiny: 624 of 624, 0 s left" in printed.err
    preset = read_manifest(tmp_path / "synthreid-tiny")["spec"]["preset"]
    assert (preset["occlusion"], preset["look_alikes"]) == (0.6, 3)


def test_another_seed_in_the_same_place_is_refused(root, capsys):
    assert main(["synth", *SMALL, "--root", str(root), "--seed", "3"]) == 2
    assert "another set (seed 0 instead of 3)" in capsys.readouterr().err


def test_preview_writes_three_sheets_and_no_set(tmp_path, capsys):
    assert main(["synth", *SMALL, "--root", str(tmp_path), "--preview"]) == 0
    paths = capsys.readouterr().out.split()
    assert [path.rsplit("/", 1)[1] for path in paths] == ["identities.jpg", "look-alikes.jpg", "masks.jpg"]
    columns = {"identities.jpg": 6, "look-alikes.jpg": 8, "masks.jpg": 12}
    for path in paths:
        with Image.open(path) as sheet:
            assert sheet.width == columns[path.rsplit("/", 1)[1]] * 34
            assert sheet.height % 66 == 0 and np.asarray(sheet).std() > 20
    assert not (tmp_path / "synthreid-tiny").exists()


def test_a_set_of_tracklets_alone_is_previewed_rendered_verified_and_judged(tmp_path, capsys):
    words = ["synth", "--preset", "clips_tiny", "--size", "32x16", "--workers", "1", "--root", str(tmp_path)]
    assert main([*words, "--preview"]) == 0
    assert len(list((tmp_path / "synthreid-clips_tiny-preview").iterdir())) == 3
    assert main(words) == 0 and main(words) == 0
    counts = "288 in tracklets/bbox_train, 288 in tracklets/bbox_test"
    printed = capsys.readouterr().out
    assert f"rendered, {counts}" in printed and f"verified, {counts}" in printed
    assert main(["synth", "--judge", str(tmp_path / "synthreid-clips_tiny")]) == 0
    assert "clips_tiny, seed 0, 32x16" in capsys.readouterr().out


def test_judge_prints_the_figures(root, capsys):
    assert main(["synth", "--judge", str(root / "synthreid-tiny")]) == 0
    printed = capsys.readouterr().out
    assert "tiny, seed 0, 64x32" in printed
    assert "250 of 250" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "64x32"], "--preset is missing; there are tiny, demo"),
        (["--preset", "tiny", "--set", "fog=1"], "no knob is called 'fog'"),
        (["--preset", "tiny", "--set", "occlusion"], "write KNOB=VALUE"),
        (["--preset", "tiny", "--set", "occlusion=2"], "occlusion lies between 0 and 1"),
        (["--judge", "nowhere"], "no rendered set"),
    ],
)
def test_mistakes_get_one_line(words, message, tmp_path, capsys):
    assert main(["synth", *words, "--root", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1


@pytest.mark.parametrize("words", [["--size", "big"], ["--size", "9x9"], ["--seed", "-1"], ["--workers", "0"]])
def test_options_out_of_range_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        main(["synth", "--preset", "tiny", *words])
    assert words[0] in capsys.readouterr().err


def test_a_root_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "root").write_text("")
    for extra in ([], ["--preview"]):
        assert main(["synth", *SMALL, "--root", str(tmp_path / "root" / "deep"), *extra]) == 2
        assert "cannot write" in capsys.readouterr().err
