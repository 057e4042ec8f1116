"""CMC, mAP, mINP, single-shot CMC and ROC against stock FastReID's loops, scikit-learn and cases worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from fastreid.evaluation import rank as stock_rank
from fastreid.evaluation import roc as stock_roc
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from mdpr_fastreid.evaluation import ranking, single_shot_metrics
from mdpr_fastreid.evaluation.ranking import AVERAGE_PRECISIONS, rank_by_rules, rank_metrics
from mdpr_fastreid.evaluation.roc import pair_scores, roc_curve, roc_of_distances


@pytest.fixture(autouse=True, params=[7, 2**22], ids=["row-by-row", "one-block"])
def _block_size(request, monkeypatch):
    """Everything holds whether the matrix is handled row by row or at once."""
    monkeypatch.setattr(ranking, "_BLOCK_ELEMENTS", request.param)


@st.composite
def rankings(draw):
    """Few identities, cameras and distances: ties, junk and queries without a positive all over."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    queries, gallery = draw(st.integers(1, 12)), draw(st.integers(1, 40))
    identities, cameras = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    levels = draw(st.sampled_from([1, 3, 1000]))
    distances = (rng.integers(0, levels, (queries, gallery)) / levels).astype(draw(st.sampled_from(["f4", "f8"])))
    labels = [rng.integers(0, high, n) for high in (identities, cameras) for n in (queries, gallery)]
    return distances, *labels


def _has_positive(distances, query_ids, gallery_ids, query_cameras, gallery_cameras):
    alike = query_ids[:, None] == gallery_ids[None]
    return (alike & (query_cameras[:, None] != gallery_cameras[None])).any()


def _junk_leaves_less_than(max_rank, distances, query_ids, gallery_ids, query_cameras, gallery_cameras):
    """Stock stacks CMC rows of unequal length then, and fails."""
    junk = (query_ids[:, None] == gallery_ids[None]) & (query_cameras[:, None] == gallery_cameras[None])
    return (distances.shape[1] - junk.sum(1)).min() < min(max_rank, distances.shape[1])


def _ranked_in_order(distances, query_ids, gallery_ids, query_cameras, gallery_cameras):
    """Average precision of each valid query, where of two equal distances the first comes first, by loops."""
    precisions = []
    for query in range(len(distances)):
        hits, passed, heights = 0, 0, []
        for image in sorted(range(len(gallery_ids)), key=lambda image: (distances[query, image], image)):
            is_same = gallery_ids[image] == query_ids[query]
            if is_same and gallery_cameras[image] == query_cameras[query]:
                continue
            passed += 1
            if is_same:
                hits += 1
                heights.append(hits / passed)
        precisions += [np.mean(heights)] if heights else []
    return precisions


@settings(max_examples=100, deadline=None)
@given(rankings(), st.sampled_from([0, 3, 64]))
def test_ties_of_a_very_large_gallery_are_broken_by_its_order(case, most_passes):
    if not _has_positive(*case):
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ranking, "LARGEST_SORTED", 0)
        patched.setattr(ranking, "_MOST_PASSES", most_passes)
        found = rank_metrics(*case).average_precision
    np.testing.assert_allclose(found, _ranked_in_order(*case), rtol=1e-12)


@settings(max_examples=150, deadline=None)
@given(rankings(), st.integers(1, 50))
def test_ranking_equals_stock_fastreid_on_random_and_degenerate_input(case, max_rank):
    if not _has_positive(*case):
        with pytest.raises(ValueError, match=f"none of the {len(case[0])} queries has a positive"):
            rank_metrics(*case, max_rank)
        return
    if _junk_leaves_less_than(max_rank, *case):
        max_rank = 1
    if _junk_leaves_less_than(max_rank, *case):
        return
    cmc, precision, penalty = stock_rank.eval_market1501(*case, max_rank)
    ours = rank_metrics(*case, max_rank)
    np.testing.assert_array_equal(ours.cmc, cmc)
    np.testing.assert_allclose(ours.average_precision, precision, rtol=1e-12)
    np.testing.assert_allclose(ours.inverse_negative_penalty, penalty, rtol=1e-12)


def _trapezoids_in_a_loop(distances, query_ids, gallery_ids, query_cameras, gallery_cameras):
    """Average precision as the authors of Market-1501 compute it, image by image down the ranking."""
    found = []
    for query, row in enumerate(distances):
        wanted = (gallery_ids == query_ids[query]) & (gallery_cameras != query_cameras[query])
        junk = (gallery_ids == query_ids[query]) & (gallery_cameras == query_cameras[query])
        area, hits, seen, last_recall, last_precision = 0.0, 0, 0, 0.0, 1.0
        for image in np.argsort(row):
            if junk[image]:
                continue
            hits += wanted[image]
            seen += 1
            recall, precision = hits / max(wanted.sum(), 1), hits / seen
            area += (recall - last_recall) * (last_precision + precision) / 2
            last_recall, last_precision = recall, precision
        if wanted.any():
            found.append(area)
    return found


@settings(max_examples=150, deadline=None)
@given(rankings())
def test_the_trapezoids_average_precision_equals_a_loop_down_the_ranking(case):
    if not _has_positive(*case):
        return
    ours = rank_metrics(*case, average_precision="trapezoid")
    np.testing.assert_allclose(ours.average_precision, _trapezoids_in_a_loop(*case), rtol=1e-9)
    steps = rank_metrics(*case)
    np.testing.assert_array_equal(ours.cmc, steps.cmc)
    _, single_shot = single_shot_metrics(*case, average_precision="trapezoid")
    assert single_shot == pytest.approx(ours.average_precision.mean())


def test_the_two_average_precisions_of_a_case_worked_out_by_hand():
    # One query with positives at ranks 2 and 3 of 3
    case = np.array([[0.1, 0.2, 0.3]]), [1], [2, 1, 1], [0], [1, 1, 1]
    (step,) = rank_metrics(*case, average_precision="step").average_precision
    (trapezoid,) = rank_metrics(*case, average_precision="trapezoid").average_precision
    assert step == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert trapezoid == pytest.approx(((0 + 1 / 2) / 2 + (1 / 2 + 2 / 3) / 2) / 2)


_PUBLISHED = json.loads((Path(__file__).parents[1] / "data/golden/trapezoid_average_precision.json").read_text())


def _published_distances(rule):
    k = np.arange(np.prod(rule["shape"]), dtype=np.float64)
    entries = rule["scale"] * (((7 * k * k + rule["a"] * k + rule["b"]) % 1009) / 1009 - 0.5)
    return entries.reshape(rule["shape"]) + rule["plus"]


@pytest.mark.parametrize("case", _PUBLISHED["cases"], ids=lambda case: case["name"].split(" ")[0])
def test_cmc_and_trapezoid_average_precision_are_a_published_evaluations(case):
    names = ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras")
    labels = [np.array(case[name]) for name in names]
    distances = _published_distances(case["distances"])
    ours = rank_metrics(distances, *labels, distances.shape[1], "trapezoid")
    expected = [value for value in case["average_precision_trapezoid"] if value is not None]
    np.testing.assert_allclose(ours.average_precision, expected, rtol=0, atol=1e-9)
    assert ours.average_precision.mean() == pytest.approx(case["mAP_trapezoid"], abs=1e-9)
    np.testing.assert_allclose(ours.cmc, case["cmc"], atol=1e-6)  # float32


@settings(max_examples=50, deadline=None)
@given(rankings(), st.integers(1, 50))
def test_several_rules_at_once_give_what_each_gives_alone(case, max_rank):
    if not _has_positive(*case):
        return
    both = rank_by_rules(*case, max_rank)
    assert tuple(both) == AVERAGE_PRECISIONS == ("step", "trapezoid")
    for rule, found in both.items():
        for ours, alone in zip(found, rank_metrics(*case, max_rank, rule), strict=True):
            np.testing.assert_array_equal(ours, alone)
    assert (both["step"].average_precision >= both["trapezoid"].average_precision - 1e-12).all()


def test_an_average_precision_of_another_name_is_named():
    with pytest.raises(ValueError, match="average_precision must be step or trapezoid, got 'mean'"):
        rank_metrics(*_GOOD, average_precision="mean")


def test_ranking_of_a_case_worked_out_by_hand():
    # Query 0 (identity 1, camera 0): its own image at 0.1 is junk, positives at ranks 2 and 4 of 4
    # Query 1 (identity 2, camera 0): its positive comes first; query 2 has none
    distances = np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0.9, 0.1, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4, 0.5]])
    result = rank_metrics(distances, [1, 2, 9], [1, 2, 1, 2, 1], [0, 0, 0], [0, 1, 1, 0, 1], max_rank=5)
    np.testing.assert_allclose(result.cmc, [0.5, 1, 1, 1, 1])
    np.testing.assert_allclose(result.average_precision, [(1 / 2 + 2 / 4) / 2, 1])
    np.testing.assert_allclose(result.inverse_negative_penalty, [2 / 4, 1])


def test_cmc_stays_at_its_end_when_junk_leaves_fewer_images_than_max_rank():
    result = rank_metrics(np.array([[0.1, 0.2, 0.3]]), [1], [1, 1, 1], [0], [0, 0, 1], max_rank=3)
    np.testing.assert_array_equal(result.cmc, [1, 1, 1])


@pytest.fixture
def np_bool(monkeypatch):
    """What stock's single-shot ranking asks of NumPy, and NumPy 1.26 lacks."""
    monkeypatch.setattr(np, "bool", np.bool_, raising=False)


@pytest.mark.usefixtures("np_bool")
def test_single_shot_equals_stock_where_every_identity_has_one_image():
    rng = np.random.default_rng(1)
    distances = rng.random((30, 20), dtype=np.float32)
    labels = rng.integers(0, 25, 30), rng.permutation(20), np.zeros(30, int), np.ones(20, int)
    cmc, mean_precision = stock_rank.eval_cuhk03(distances, *labels, 10)
    ours_cmc, ours_precision = single_shot_metrics(distances, *labels, 10)
    np.testing.assert_allclose(ours_cmc, cmc, atol=1e-6)
    assert ours_precision == pytest.approx(mean_precision)


@pytest.mark.usefixtures("np_bool")
def test_single_shot_has_the_mean_of_stocks_random_galleries():
    rng = np.random.default_rng(2)
    distances = rng.random((200, 60))
    labels = rng.integers(0, 12, 200), np.arange(60) % 12, rng.integers(0, 3, 200), rng.integers(0, 3, 60)
    np.random.seed(0)
    cmc, mean_precision = stock_rank.eval_cuhk03(distances, *labels, 12)
    ours_cmc, ours_precision = single_shot_metrics(distances, *labels, 50, repeats=100)
    assert len(ours_cmc) == 12
    np.testing.assert_allclose(ours_cmc, cmc, atol=0.04)
    assert ours_precision == pytest.approx(mean_precision)


@settings(max_examples=100, deadline=None)
@given(rankings())
def test_pair_scores_equal_stock_fastreid(case):
    scores, labels = stock_roc.evaluate_roc_py(*case)
    ours_scores, ours_labels = pair_scores(*case)
    np.testing.assert_array_equal(ours_scores, scores)
    np.testing.assert_array_equal(ours_labels, labels)


@settings(max_examples=200, deadline=None)
@given(rankings(), st.floats(0, 1))
def test_roc_curve_has_scikit_learns_rates_and_true_positive_rate_at_any_false_positive_rate(case, wanted):
    scores, labels = pair_scores(*case)
    if labels.all() or not labels.any():
        with pytest.raises(ValueError, match="a ROC needs pairs of one identity and of two"):
            roc_curve(labels, scores)
        return
    false_rates, true_rates, _thresholds = metrics.roc_curve(labels, scores)
    ours_false, ours_true, ours_thresholds = roc_curve(labels, scores)
    np.testing.assert_array_equal(np.unique(ours_false), np.unique(false_rates))
    at, ours_at = np.argmin(np.abs(false_rates - wanted)), np.argmin(np.abs(ours_false - wanted))
    assert ours_true[ours_at] == true_rates[at]
    for rate, threshold in zip(ours_true, ours_thresholds, strict=True):
        assert rate == pytest.approx((scores[labels] >= threshold).mean())


@settings(max_examples=200, deadline=None)
@given(rankings())
def test_the_roc_of_distances_is_that_of_the_scores_of_all_pairs(case):
    scores, labels = pair_scores(*case)
    try:
        expected = roc_curve(labels, scores)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)):
            roc_of_distances(*case)
        return
    for ours, theirs in zip(roc_of_distances(*case), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


_GOOD = (np.ones((2, 3)), np.zeros(2), np.zeros(3), np.zeros(2), np.ones(3))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, np.ones(6), r"distances must be a matrix \[query, gallery\], got shape \(6,\)"),
        (0, np.ones((2, 0)), r"no gallery image"),
        (0, np.ones((0, 3)), r"no query image"),
        (0, np.array([[1, 1, 1], [1, np.nan, 1]]), "NaN, first in the row of query 1"),
        (1, np.zeros(3), r"query_ids must have shape \(2,\) as distances is \(2, 3\), got \(3,\)"),
        (4, np.zeros(4), r"gallery_cameras must have shape \(3,\)"),
    ],
)
@pytest.mark.parametrize("function", [rank_metrics, single_shot_metrics, pair_scores, roc_of_distances])
def test_bad_input_is_named(function, position, value, message):
    case = list(_GOOD)
    case[position] = value
    with pytest.raises(ValueError, match=message):
        function(*case)


def test_max_rank_below_one_is_named():
    with pytest.raises(ValueError, match="max_rank must be 1 or more, got 0"):
        rank_metrics(*_GOOD, 0)


def test_single_shot_without_any_positive_is_named():
    with pytest.raises(ValueError, match="none of the 2 queries has a positive"):
        single_shot_metrics(*_GOOD[:1], np.full(2, 7), *_GOOD[2:])
