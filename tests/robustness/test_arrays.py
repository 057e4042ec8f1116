"""The evaluation functions either refuse what they are given, by a ``ValueError`` of one line, or give real numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdpr_fastreid.evaluation import (
    average_query_expansion,
    blended_distances,
    cosine_distances,
    k_reciprocal_jaccard,
    rank_metrics,
    rerank,
    rerank_by,
    rerank_distances,
    single_shot_metrics,
    squared_euclidean_distances,
)
from mdpr_fastreid.evaluation.roc import pair_scores, roc_curve, roc_of_distances

_GOOD = np.eye(4)[[0, 1, 2, 3, 0, 1]] + 0.1
_OF_FEATURES = (
    average_query_expansion,
    blended_distances,
    cosine_distances,
    k_reciprocal_jaccard,
    rerank,
    squared_euclidean_distances,
)
_DISTANCES = np.array([[0.1, 0.4, 0.3], [0.2, 0.6, 0.5]])
_LABELS = (np.array([0, 1]), np.array([0, 1, 2]), np.zeros(2), np.ones(3))
_OF_DISTANCES = (rank_metrics, single_shot_metrics, pair_scores, roc_of_distances)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (_GOOD * 1j, "query features must be real numbers, got complex128"),
        (torch.from_numpy(_GOOD) * 1j, "query features must be real numbers, got torch.complex128"),
        (_GOOD.astype(str), "query features must be real numbers, got <U"),
        (_GOOD.astype(object), "query features must be real numbers, got object"),
        (_GOOD * 7e18, "query features have NaN, infinite or too large values, first in row 0"),
    ],
)
@pytest.mark.parametrize("function", _OF_FEATURES)
def test_features_that_cannot_be_compared_are_refused(function, features, message):
    with pytest.raises(ValueError, match=message):
        function(features, _GOOD)


@pytest.mark.parametrize("function", [cosine_distances, rerank, average_query_expansion])
def test_features_too_short_to_have_a_direction_are_not_called_zero(function):
    with pytest.raises(ValueError, match="query features are too short in row 0 to have a direction"):
        function(_GOOD * 1e-20, _GOOD)


# Of ten; about 18.8 squares of float32 become infinite
_POWERS = st.integers(-45, 38) | st.floats(17.5, 19.5)


def _all_numbers(result) -> bool:
    parts = result if isinstance(result, tuple) else (result,)
    return all(np.isfinite(part).all() for part in parts)


def _result_or_error(function, *arguments):
    try:
        return function(*arguments)
    except ValueError as error:
        return str(error)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(_OF_FEATURES),
    _POWERS,
    _POWERS,
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
)
def test_finite_features_of_any_size_give_numbers_or_an_error(function, first, second, width, seed):
    rng = np.random.default_rng(seed)
    query, gallery = (rng.standard_normal((5, width)) * 10.0**power for power in (first, second))
    result = _result_or_error(function, query, gallery)
    assert "features" in result if isinstance(result, str) else _all_numbers(result)


@settings(max_examples=100, deadline=None)
@given(st.floats(), st.integers(1, 12), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_query_expansion_of_any_alpha_gives_directions_or_an_error(alpha, k, times, seed):
    query, gallery = np.random.default_rng(seed).standard_normal((2, 5, 2))
    result = _result_or_error(average_query_expansion, query, gallery, times, k, alpha)
    if isinstance(result, str):
        assert "query expansion" in result
    else:
        assert _all_numbers(result) and all(part.any(axis=1).all() for part in result)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": 1.5}, "k1 must be a whole number, got 1.5"),
        ({"k2": "6"}, "k2 must be a whole number, got '6'"),
        ({"lambda_value": None}, "lambda_value must be between 0 and 1, got None"),
        ({"lambda_value": float("nan")}, "lambda_value must be between 0 and 1, got nan"),
    ],
)
def test_settings_of_another_type_are_refused(options, message):
    for function in (rerank, blended_distances):
        with pytest.raises(ValueError, match=message):
            function(_GOOD, _GOOD, **options)
    with pytest.raises(ValueError, match=message):
        rerank_by(torch.cdist, torch.from_numpy(_GOOD), torch.from_numpy(_GOOD), **options)


def test_negative_distances_are_not_re_ranked_as_if_they_were_positive():
    similar = -np.ones((3, 3))
    with pytest.raises(ValueError, match="what is re-ranked has negative distances, down to -1"):
        rerank_distances(similar, similar, similar)
    features = torch.from_numpy(_GOOD).float()
    with pytest.raises(ValueError, match="_minus_product has negative distances, down to -"):
        rerank_by(_minus_product, features, features)


def _minus_product(query: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    return -query @ gallery.T


def test_what_rounding_leaves_below_zero_is_re_ranked():
    distances = 1 - np.eye(3)
    exact = rerank_distances(distances, distances, distances)
    rounded = rerank_distances(*[distances - 1e-7] * 3)
    np.testing.assert_allclose(exact, rounded, atol=1e-6)


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        (_DISTANCES + 0j, "distances must be real numbers, got complex128"),
        (_DISTANCES.astype(str), "distances must be real numbers, got <U"),
        (_DISTANCES * np.nan, "distances has NaN, first in the row of query 0"),
    ],
)
@pytest.mark.parametrize("function", _OF_DISTANCES)
def test_distances_that_have_no_order_are_refused(function, distances, message):
    with pytest.raises(ValueError, match=message):
        function(distances, *_LABELS)


@pytest.mark.parametrize("function", _OF_DISTANCES)
def test_labels_that_are_nan_are_refused(function):
    with pytest.raises(ValueError, match="gallery_ids has NaN, first at 1"):
        function(_DISTANCES, _LABELS[0], np.array([0, np.nan, 2]), *_LABELS[2:])


@pytest.mark.parametrize("options", [{"max_rank": 1.5}, {"max_rank": None}])
def test_a_rank_that_is_no_whole_number_is_refused(options):
    with pytest.raises(ValueError, match="max_rank must be a whole number"):
        rank_metrics(_DISTANCES, *_LABELS, **options)


def test_no_random_gallery_at_all_is_refused():
    with pytest.raises(ValueError, match="repeats must be 1 or more, got 0"):
        single_shot_metrics(_DISTANCES, *_LABELS, repeats=0)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1, 1], [0.1, 0.2], r"labels and scores must be two arrays \[P\], got shapes \(3,\) and \(2,\)"),
        ([[0, 1]], [[0.1, 0.2]], r"labels and scores must be two arrays \[P\], got shapes \(1, 2\) and \(1, 2\)"),
        ([0, 1], [0.1, np.nan], "scores has NaN, first at 1"),
        ([0, 1], [0.1, 0.2j], "scores must be real numbers, got complex128"),
        ([0, 1], ["a", "b"], "scores must be real numbers, got <U1"),
        ([-1, 1], [0.1, 0.2], "labels must be true"),
        ([0, np.nan], [0.1, 0.2], "labels must be true"),
        (["0", "1"], [0.1, 0.2], "labels must be real numbers"),
        ([], [], "a ROC needs pairs of one identity and of two, got 0 and 0"),
    ],
)
def test_what_is_no_roc_is_refused(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        roc_curve(np.array(labels), np.array(scores))
