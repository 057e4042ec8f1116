"""Rank lists have the ranks of CMC and mAP, and no junk."""

import numpy as np
import pytest
import torch
from support.ranked_features import config

from mdpr_fastreid.evaluation import Evaluator, rank_lists, rank_metrics, ranked_gallery


def ranked_at_random():
    """Random features of 12 queries and 40 gallery images, of 6 identities before 3 cameras."""
    generator = torch.Generator().manual_seed(0)
    ids, cams = (torch.randint(high, (52,), generator=generator) for high in (6, 3))
    ids[0] = 99  # a query without a match
    evaluator = Evaluator(config(), 12)
    evaluator.process({"targets": ids, "camids": cams}, torch.randn(52, 8, generator=generator))
    collected = evaluator.collect()
    return evaluator.measure(collected), collected, ids, cams


def test_rank_lists_are_what_a_loop_over_queries_finds():
    measured, collected, ids, cams = ranked_at_random()
    lists, plain = rank_lists(measured, collected, 10), measured.distances
    rows = []
    for query in range(12):
        ranked = sorted(range(12, 52), key=lambda g: plain[query, g - 12])
        counted = [g for g in ranked if not (ids[g] == ids[query] and cams[g] == cams[query])]
        if any(ids[g] == ids[query] for g in counted):
            rows.append((query, counted[:10]))
    assert lists.query.tolist() == [query for query, _ in rows]
    assert lists.gallery.tolist() == [counted for _, counted in rows]
    for row, (query, counted) in enumerate(rows):
        assert lists.correct[row].tolist() == [bool(ids[g] == ids[query]) for g in counted]
        assert lists.distance[row] == pytest.approx([plain[query, g - 12] for g in counted])
    precision = rank_metrics(plain, *collected.labels).average_precision
    np.testing.assert_array_equal(lists.average_precision, precision)


def test_average_precision_follows_from_where_the_positives_stand():
    measured, collected, *_ = ranked_at_random()
    precision = iter(measured.ranking.average_precision)
    first = []
    for query in range(collected.num_query):
        ranks = ranked_gallery(measured, collected, query).ranks_of_positives
        if len(ranks):
            assert np.mean(np.arange(1, len(ranks) + 1) / ranks) == pytest.approx(next(precision))
            first.append(ranks[0])
    assert next(precision, None) is None
    assert np.mean(np.array(first) == 1) * 100 == pytest.approx(measured.metrics["Rank-1"])


def test_a_whole_ranking_has_every_image_that_counts_once():
    measured, collected, ids, cams = ranked_at_random()
    ranked = ranked_gallery(measured, collected, 3)
    counts = [g for g in range(40) if not (ids[12 + g] == ids[3] and cams[12 + g] == cams[3])]
    assert sorted(ranked.gallery) == counts
    assert (np.diff(ranked.distance) >= 0).all()


def test_of_images_that_are_as_near_the_one_that_the_metrics_take_first_is_first():
    measured, collected, *_ = ranked_at_random()
    tied = measured._replace(distances=np.zeros_like(measured.distances))
    precision = iter(rank_metrics(tied.distances, *collected.labels).average_precision)
    for query in range(collected.num_query):
        ranks = ranked_gallery(tied, collected, query).ranks_of_positives
        if len(ranks):
            assert np.mean(np.arange(1, len(ranks) + 1) / ranks) == pytest.approx(next(precision))


def test_a_list_longer_than_the_gallery_ends_with_it():
    measured, collected, *_ = ranked_at_random()
    lists = rank_lists(measured, collected, 50)
    assert lists.gallery.shape[1] == 40
    assert (lists.gallery[lists.gallery >= 0] >= 12).all()
    assert np.isinf(lists.distance[lists.gallery < 0]).all()
