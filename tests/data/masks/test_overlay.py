"""Masks in colours: over their pictures, and in the legend."""

import numpy as np
from PIL import Image, ImageFont

from mdpr_fastreid.data.masks.overlay import PALETTE, colour_of, legend, overlaid


def test_parts_have_their_colours_and_all_else_is_grey():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8))
    labels = np.repeat(np.array([0, 1, 2, 255, 19], np.uint8), 4)[:, None].repeat(10, axis=1)
    drawn = np.asarray(overlaid(picture, labels)).astype(int)
    grey = np.asarray(picture.convert("L")).astype(int)[..., None]
    for first, label in ((0, 0), (8, 1), (16, 2), (24, 255), (32, 19)):
        expected = grey if label in (0, 255) else 0.4 * grey + 0.6 * np.array(colour_of(label))
        assert np.abs(drawn[first : first + 8] - expected[first : first + 8]).max() <= 0.5


def test_colours_differ_and_begin_again_after_the_last():
    assert len(set(PALETTE)) == len(PALETTE) >= 19
    assert colour_of(len(PALETTE) + 1) == colour_of(1) and colour_of(254) in PALETTE


def test_a_legend_has_every_colour_in_as_many_rows_as_it_needs():
    names = [(label, f"a part called {label}") for label in range(1, 13)]
    font = ImageFont.load_default(11)
    wide, narrow = (legend(names, width, font, (250,) * 3, (0,) * 3) for width in (4000, 300))
    assert wide.height < narrow.height and (wide.width, narrow.width) == (4000, 300)
    for drawn in (wide, narrow):
        seen = set(map(tuple, np.asarray(drawn).reshape(-1, 3).tolist()))
        assert {colour_of(label) for label, _ in names} <= seen
        assert (np.asarray(drawn)[:, -3:] == 250).all(), "nothing is cut off"
