"""A paired bootstrap over test identities: how far a difference of mAP depends on who is in the test set."""

from typing import NamedTuple

import numpy as np

DRAWS = 2000
"""How often test identities are drawn."""
LEVEL = 95
"""Percent of the draws that lie in an interval."""

_SEED = 0


class Interval(NamedTuple):
    """A difference of mAP in points (percent), and how far it varies with the test identities."""

    mean: float
    """Over all queries."""
    low: float
    high: float
    """Between ``low`` and ``high`` lie ``LEVEL`` percent of the draws."""


def bootstrap_difference(differences: np.ndarray, identities: np.ndarray, draws: int = DRAWS) -> Interval:
    """The mean of differences, with its percentile interval (Efron and Tibshirani, 1993, chapter 13).

    Each draw takes as many identities as there are, with replacement, and all queries of each that is drawn: queries of
    one identity are not independent. Draws are seeded, so that the same identities are drawn for every comparison.

    Args:
        differences: ``[V]`` of a method's average precision less another's, 0 to 1, query by query.
        identities: ``[V]`` of the queries.
        draws: how many.

    Raises:
        ValueError: there is no query, or the two are not of one length.
    """
    if not len(differences) or np.shape(differences) != np.shape(identities):
        shapes = f"{np.shape(differences)} and {np.shape(identities)}"
        raise ValueError(f"differences and identities must have an entry for each of one query or more, got {shapes}")
    _, of_query = np.unique(identities, return_inverse=True)
    totals, counts = np.bincount(of_query, weights=differences), np.bincount(of_query)
    generator = np.random.default_rng(_SEED)
    means = np.empty(draws)
    for draw in range(draws):  # not all at once: a data set may have 100,000 identities
        drawn = generator.integers(0, len(counts), len(counts))
        means[draw] = totals[drawn].sum() / counts[drawn].sum()
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(means, (tail, 100 - tail))
    return Interval(float(np.mean(differences) * 100), float(low * 100), float(high * 100))
