"""Frames and marks tell right from wrong without colour, and text of any script is written."""

import numpy as np
import pytest
from PIL import Image

from mdpr_fastreid.pictures.canvas import CELL, PAPER, badge, framed, photo, write


def blank(size=CELL):
    return Image.new("RGB", size, (128, 128, 128))


def lightness(picture):
    return np.asarray(picture.convert("L")).astype(int)


def test_in_grey_a_right_frame_is_whole_and_a_wrong_one_has_gaps():
    right, wrong = (lightness(framed(blank(), correct))[-3] for correct in (True, False))
    assert len(set(right)) == 1 and right[0] != 128
    assert 0.3 < (wrong == 128).mean() < 0.7


def test_in_grey_the_marks_differ_in_shape():
    tick, cross = (lightness(badge(correct)) > 200 for correct in (True, False))
    assert (tick != cross).mean() > 0.1
    # A cross is its own mirror image, but for its edge; a tick is not
    assert (cross != cross[:, ::-1]).mean() < 0.06 < (tick != tick[:, ::-1]).mean()


def test_a_frame_leaves_the_middle_of_a_photograph_as_it_is():
    cell = Image.fromarray(np.random.default_rng(0).integers(0, 256, (CELL[1], CELL[0], 3), dtype=np.uint8))
    inside = (30, 30, CELL[0] - 6, CELL[1] - 6)
    assert np.array_equal(framed(cell, True).crop(inside), cell.crop(inside))


def test_an_image_that_cannot_be_read_says_so_in_its_place(tmp_path):
    broken = tmp_path / "a.jpg"
    broken.write_bytes(b"no image")
    cell = photo(broken)
    assert cell.size == CELL
    assert len(np.unique(np.asarray(cell).reshape(-1, 3), axis=0)) > 1


@pytest.mark.parametrize("text", ["", "张伟", "a\nb\x1b[31m", "Müller 张伟 \U0001f600 \u0627", "x" * 500])
def test_any_name_is_written_within_its_width(text):
    picture = Image.new("RGB", (120, 30), PAPER)
    write(picture, (4, 4), text, width=60)
    inked = np.flatnonzero((lightness(picture) < 250).any(axis=0))
    assert bool(len(inked)) == bool(text)
    assert not len(inked) or inked.max() <= 4 + 60 + 2


def test_of_a_long_name_the_end_is_left():
    ends = []
    for name in ("a" * 50 + "1", "a" * 60 + "1", "a" * 50 + "2"):
        picture = Image.new("RGB", (80, 30), PAPER)
        write(picture, (4, 4), name, width=70)
        ends.append(np.asarray(picture))
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])
