"""Which images a folder has, and what their names or a manifest say of them."""

import math

import numpy as np
import pytest
from support.image_trees import write_images

from mdpr_fastreid.embedding.facts import find_images
from mdpr_fastreid.errors import UsageError


def test_names_of_market_1501_say_camera_and_identity(tmp_path):
    write_images(tmp_path, ["b/0002_c1s1_000451_03.png", "a/-1_c12_x.png", "other.png"])
    (tmp_path / "b" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    write_images(tmp_path / ".hidden", ["x.png"])
    found = find_images(tmp_path)
    assert found.names.tolist() == ["a/-1_c12_x.png", "b/0002_c1s1_000451_03.png", "other.png"]
    assert found.cameras.tolist() == ["12", "1", ""] and found.identities.tolist() == ["-1", "2", ""]
    assert np.isnan(found.times).all()
    assert found.path(1) == str(tmp_path / "b" / "0002_c1s1_000451_03.png")
    assert found.described() == "3 images, 2 cameras (1 images without), 2 identities (1 images without), no times"


def test_a_manifest_says_which_images_there_are(tmp_path):
    write_images(tmp_path, ["z/1.png", "z/2.png", "left_out.png"])
    (tmp_path / "manifest.csv").write_text("path,identity,camera\nz/2.png,anna,north\nz/1.png,bob,\n")
    found = find_images(tmp_path)
    assert found.names.tolist() == ["z/1.png", "z/2.png"]
    assert found.cameras.tolist() == ["", "north"] and found.identities.tolist() == ["bob", "anna"]


def test_patterns_find_cameras_and_times_in_paths(tmp_path):
    write_images(tmp_path, ["cam07/20260102_030405.png", "hall/1700000000.5.png"])
    found = find_images(
        tmp_path, camera_pattern=r"cam(\d+)", time_pattern=r"(\d{8}_\d{6})", time_format="%Y%m%d_%H%M%S"
    )
    assert found.cameras.tolist() == ["07", ""]
    assert found.times[0] == 1767323045.0 and math.isnan(found.times[1])
    assert find_images(tmp_path, time_pattern=r"hall/([\d.]+)\.png").times[1] == 1700000000.5


def test_images_are_named_from_another_folder(tmp_path):
    write_images(tmp_path, ["a/1.png", "b/2.png"])
    seen = find_images(tmp_path / "b").seen_from(str(tmp_path / "a"))
    assert seen.names.tolist() == ["../b/2.png"]
    assert (tmp_path / "a" / seen.names[0]).resolve() == tmp_path / "b" / "2.png"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"camera_pattern": "("}, "--camera-pattern '\\(' is no regular expression"),
        ({"camera_pattern": "cam"}, "needs one group"),
        ({"time_pattern": "(a)"}, "a.png: --time-pattern finds 'a', which is no time .*--time-format"),
        ({"time_pattern": "(a)", "time_format": "%Y"}, "a.png: --time-pattern finds 'a'"),
        ({"time_format": "%Y"}, "give --time-pattern"),
    ],
)
def test_wrong_patterns_are_one_line(tmp_path, options, words):
    write_images(tmp_path, ["a.png"])
    with pytest.raises(UsageError, match=words):
        find_images(tmp_path, **options)


def test_folders_without_images_are_one_line(tmp_path):
    with pytest.raises(UsageError, match="holds no images"):
        find_images(tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        find_images(tmp_path / "none")


def test_infinity_is_no_time(tmp_path):
    write_images(tmp_path, ["inf.png"])
    with pytest.raises(UsageError, match="is no time"):
        find_images(tmp_path, time_pattern="(inf)")
