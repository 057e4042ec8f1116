"""CMC, mAP, mINP, ROC, re-ranking and query expansion against loops written from their definitions.

The cases are small and random: ties, junk (same identity and camera), distractors and queries without a positive.
"""

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mdpr_fastreid.evaluation import average_query_expansion, k_reciprocal_jaccard, rerank, rerank_by, rerank_distances
from mdpr_fastreid.evaluation.ranking import rank_by_rules
from mdpr_fastreid.evaluation.roc import pair_scores, roc_curve, roc_of_distances

_EXAMPLES = settings(max_examples=60, deadline=None)
_SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def labelled_distances(draw):
    """Distances ``[Q, G]`` with many ties or none, identities and cameras; identity 0 is in the gallery only."""
    rng = np.random.default_rng(draw(_SEEDS))
    queries, gallery = draw(st.integers(1, 8)), draw(st.integers(1, 25))
    identities, cameras = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    levels = draw(st.sampled_from([1, 2, 5, 10_000]))
    distances = rng.integers(0, levels, (queries, gallery)) / levels
    labels = (rng.integers(1, identities + 1, queries), rng.integers(0, identities + 1, gallery))
    return distances, *labels, rng.integers(0, cameras, queries), rng.integers(0, cameras, gallery)


def _matches(distances, query_ids, gallery_ids, query_cameras, gallery_cameras):
    """Of each query with a positive: whether each image that counts is one, nearest first."""
    rows = []
    for query, row in enumerate(distances):
        order = np.argsort(row)  # the documented order of ties
        counts = [
            bool(gallery_ids[image] == query_ids[query])
            for image in order
            if not (gallery_ids[image] == query_ids[query] and gallery_cameras[image] == query_cameras[query])
        ]
        if any(counts):
            rows.append(counts)
    return rows


def _average_precision(counts, rule):
    positives, area, previous = 0, 0.0, 1.0
    for place, is_positive in enumerate(counts, 1):
        positives += is_positive
        precision = positives / place
        if is_positive:
            area += precision if rule == "step" else (previous + precision) / 2
        previous = precision
    return area / positives


@_EXAMPLES
@given(labelled_distances(), st.integers(1, 30))
def test_cmc_map_and_minp_are_those_of_the_definitions(case, max_rank):
    rows = _matches(*case)
    assume(rows)
    found = rank_by_rules(*case, max_rank)
    length = min(max_rank, case[0].shape[1])
    cmc = [np.mean([any(counts[: rank + 1]) for counts in rows]) for rank in range(length)]
    last = [len(counts) - counts[::-1].index(True) for counts in rows]
    penalties = [sum(counts) / place for counts, place in zip(rows, last, strict=True)]
    for rule, ranking in found.items():
        np.testing.assert_allclose(ranking.cmc, cmc, rtol=1e-6)
        np.testing.assert_allclose(ranking.inverse_negative_penalty, penalties, rtol=1e-12)
        expected = [_average_precision(counts, rule) for counts in rows]
        np.testing.assert_allclose(ranking.average_precision, expected, rtol=1e-12)


def _pairs(distances, query_ids, gallery_ids, query_cameras, gallery_cameras):
    """Scores of the pairs that count: of one identity, and of two."""
    same, other = [], []
    for query, row in enumerate(distances):
        for image, distance in enumerate(row):
            if gallery_ids[image] != query_ids[query]:
                other.append(distance)
            elif gallery_cameras[image] != query_cameras[query]:
                same.append(distance)
    return same, other


@_EXAMPLES
@given(labelled_distances())
def test_the_roc_is_that_of_counting_pairs_at_every_threshold(case):
    """The curve is of finding pairs of two identities by their distance, as FastReID's."""
    same, other = _pairs(*case)
    scores, labels = pair_scores(*case)
    assert sorted(scores[~labels]) == sorted(same) and sorted(scores[labels]) == sorted(other)
    assume(same and other)
    points = {
        (sum(score >= threshold for score in same) / len(same), sum(score >= threshold for score in other) / len(other))
        for threshold in [np.inf, *same, *other]
    }
    for false_rates, true_rates, thresholds in (roc_curve(labels, scores), roc_of_distances(*case)):
        for false_rate, true_rate, threshold in zip(false_rates, true_rates, thresholds, strict=True):
            of_two, of_one = (np.mean(np.array(part) >= threshold) for part in (other, same))
            np.testing.assert_allclose((false_rate, true_rate), (of_one, of_two), atol=1e-12)
        lowest = {rate: min(true for false, true in points if false == rate) for rate in {p[0] for p in points}}
        kept = {
            rate: true_rates[np.flatnonzero(np.isclose(false_rates, rate))[0]]
            for rate in lowest
            if np.isclose(false_rates, rate).any()
        }
        assert {0.0, 1.0} <= {round(rate, 12) for rate in kept}
        np.testing.assert_allclose([lowest[rate] for rate in kept], list(kept.values()), atol=1e-12)


@st.composite
def features(draw):
    """Query and gallery features in clusters; distances without ties, so that neighbours are decided."""
    rng = np.random.default_rng(draw(_SEEDS))
    queries, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 18))
    centres = rng.standard_normal((draw(st.integers(1, 4)), 4))
    points = centres[rng.integers(0, len(centres), queries + gallery)]
    points = points + 0.3 * rng.standard_normal((queries + gallery, 4))
    gaps = np.diff(np.sort(_squared(points), axis=1), axis=1)
    assume(gaps.size == 0 or gaps.min() > 1e-4)
    return points[:queries], points[queries:]


def _squared(points):
    return ((points[:, None] - points[None]) ** 2).sum(axis=2)


def _reciprocal(order, image, size):
    return [other for other in order[image][:size] if image in order[other][:size]]


def _encoded(order, distances, neighbors, half, k2):
    """Weights of the expanded k-reciprocal sets (equations 3 and 7), averaged over neighbours (equation 11)."""
    count = len(order)
    weights = np.zeros((count, count))
    for image in range(count):
        members = set(own := _reciprocal(order, image, neighbors))
        for candidate in own:
            other = _reciprocal(order, candidate, half)
            if 3 * len(set(other) & set(own)) > 2 * len(other):
                members |= set(other)
        members = sorted(members)
        weights[image, members] = np.exp(-distances[image, members])
        weights[image] /= weights[image].sum()
    return np.array([weights[order[image][:k2]].mean(axis=0) for image in range(count)])


def _jaccard(encoding, queries):
    """Equation 10."""
    distances = np.empty((queries, len(encoding) - queries))
    for query, one in enumerate(encoding[:queries]):
        for image, other in enumerate(encoding[queries:]):
            distances[query, image] = 1 - np.minimum(one, other).sum() / np.maximum(one, other).sum()
    return distances


@_EXAMPLES
@given(features(), st.integers(1, 8), st.integers(1, 5), st.floats(0, 1))
def test_re_ranking_is_that_of_the_papers_equations(case, k1, k2, share):
    query, gallery = case
    squared = _squared(np.concatenate(case))
    scaled = squared / squared.max(axis=1, keepdims=True)
    order = np.argsort(scaled, axis=1, kind="stable")
    half = int(np.around(k1 / 2))
    assume(k2 <= len(order))
    encoding = _encoded(order, scaled, k1 + 1, half + 1, k2)
    queries = len(query)
    expected = (1 - share) * _jaccard(encoding, queries) + share * scaled[:queries, queries:]
    np.testing.assert_allclose(rerank(query, gallery, k1, k2, share), expected, atol=2e-5)
    root = np.sqrt(squared)
    parts = root[:queries, queries:], root[:queries, :queries], root[queries:, queries:]
    np.testing.assert_allclose(rerank_distances(*parts, k1, k2, share), expected, atol=2e-5)


@_EXAMPLES
@given(features(), st.integers(1, 8), st.integers(1, 5))
def test_jaccard_distances_are_those_of_sets_of_neighbours(case, k1, k2):
    query, gallery = case
    squared = _squared(np.concatenate(case))
    order = np.argsort(squared, axis=1, kind="stable")
    assume(max(k1, k2) <= len(order))
    k2 = min(k1, k2)  # the toolbox averages over those that its search has found
    half = min(k1, int(np.around(k1 / 2)) + 1)
    encoding = _encoded(order, squared, k1, half, k2)
    np.testing.assert_allclose(k_reciprocal_jaccard(query, gallery, k1, k2), _jaccard(encoding, len(query)), atol=2e-5)


@_EXAMPLES
@given(features(), st.integers(0, 2), st.integers(1, 30), st.sampled_from([0.0, 1.0, 3.0]))
def test_query_expansion_is_the_weighted_mean_of_the_nearest(case, times, k, alpha):
    points, queries = np.concatenate(case).astype(np.float32).astype(float), len(case[0])
    for _ in range(times):
        unit = points / np.linalg.norm(points, axis=1, keepdims=True)
        similarity = unit @ unit.T
        ranked = -np.sort(-similarity, axis=1)
        assume(k >= len(points) or (ranked[:, k - 1] - ranked[:, k]).min() > 1e-5)
        expanded = np.zeros_like(points)
        for image, row in enumerate(similarity):
            nearest = np.argsort(-row)[:k]
            expanded[image] = sum(row[other] ** alpha * points[other] for other in nearest) / len(nearest)
        points = expanded
        assume(np.linalg.norm(points, axis=1).min() > 1e-3)
    query, gallery = average_query_expansion(*case, times, k, alpha)
    np.testing.assert_allclose(np.concatenate((query, gallery)), points, atol=1e-4)
    assert len(query) == queries


@_EXAMPLES
@given(features(), st.integers(1, 8), st.integers(1, 5), st.floats(0, 1))
def test_re_ranking_by_a_distance_is_that_of_its_matrices(case, k1, k2, share):
    query, gallery = (torch.from_numpy(part).float() for part in case)
    parts = [_manhattan(*pair) for pair in ((query, gallery), (query, query), (gallery, gallery))]
    joint = torch.cat((query, gallery))
    gaps = _manhattan(joint, joint).sort(dim=1).values.diff()
    assume(gaps.min() > 1e-4)
    expected = rerank_distances(*parts, k1, k2, share)
    torch.testing.assert_close(rerank_by(_manhattan, query, gallery, k1, k2, share), expected, atol=2e-5, rtol=0)


def _manhattan(query, gallery):
    return (query[:, None] - gallery[None]).abs().sum(dim=2)
