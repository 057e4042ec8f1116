"""Arithmetic and random numbers of the renderer against libm, NumPy and pinned words."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdpr_fastreid.data.synth.exact import Stream, cosine, piecewise, sine, smooth_noise, stretch


@given(st.floats(-1e4, 1e4))
def test_sine_and_cosine_agree_with_libm(angle):
    assert sine(angle) == pytest.approx(math.sin(angle), abs=1e-9)
    assert cosine(angle) == pytest.approx(math.cos(angle), abs=1e-9)


def test_stream_gives_the_pinned_numbers():
    stream = Stream(0, 20, 3)
    assert [stream.below(1000) for _ in range(6)] == [38, 168, 995, 36, 804, 19]
    assert Stream(1, 2).octets(10).tolist() == [246, 187, 37, 39, 200, 184, 243, 87, 199, 30]


def test_streams_of_other_keys_are_other_streams():
    draws = {tuple(Stream(*key).below(10**6) for _ in range(3)) for key in [(0,), (0, 0), (0, 1), (1, 0), (1,)]}
    assert len(draws) == 5


@given(st.integers(0, 2**31), st.floats(-5, 5), st.floats(0, 5))
def test_draws_stay_within_their_bounds(seed, low, spread):
    stream = Stream(seed)
    for _ in range(20):
        assert low <= stream.uniform(low, low + spread) <= low + spread
        assert abs(stream.bell(low, spread) - low) <= spread + 1e-9
        assert 0 <= stream.below(7) < 7


def test_shuffled_is_a_permutation_and_every_item_comes_first_as_often():
    firsts = np.bincount([Stream(9, k).shuffled(range(4))[0] for k in range(800)], minlength=4)
    assert sorted(Stream(5).shuffled(range(10))) == list(range(10))
    assert firsts.min() > 150


def test_piecewise_agrees_with_numpy_interpolation():
    points = [(0.0, 0.3), (0.2, 1.0), (0.55, 0.4), (1.0, 0.9)]
    expected = np.interp(np.linspace(0, 1, 64), *zip(*points, strict=True))
    np.testing.assert_allclose(piecewise(points, 64), expected, atol=1e-6)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 20), st.integers(1, 20))
def test_stretch_interpolates_linearly_along_both_axes(rows, columns, new_rows, new_columns):
    field = Stream(rows, columns).field(rows, columns)
    downwards = np.linspace(0, rows - 1, new_rows) if new_rows > 1 else np.zeros(1)
    across = np.linspace(0, columns - 1, new_columns) if new_columns > 1 else np.zeros(1)
    tall = np.stack([np.interp(downwards, np.arange(rows), field[:, k]) for k in range(columns)], axis=1)
    expected = np.stack([np.interp(across, np.arange(columns), row) for row in tall])
    np.testing.assert_allclose(stretch(field, new_rows, new_columns), expected, atol=1e-5)


def test_smooth_noise_is_smooth_and_bounded():
    noise = smooth_noise(Stream(3), 60, 60, (4, 4))
    assert np.abs(noise).max() <= 1
    assert np.abs(np.diff(noise, axis=0)).max() <= 2 / (59 / 4) + 1e-5
