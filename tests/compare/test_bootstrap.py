"""The bootstrap over test identities: against a loop, and what must hold of it."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mdpr_fastreid.compare import bootstrap
from mdpr_fastreid.compare.bootstrap import DRAWS, bootstrap_difference

FEW = 200


@st.composite
def queries(draw):
    """Differences of average precision and identities of queries."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, identities = draw(st.integers(1, 40)), draw(st.integers(1, 12))
    return rng.uniform(-1, 1, count), rng.integers(0, identities, count) * 7 - 3


def in_a_loop(differences, identities, draws):
    """Draw by draw, identity by identity, query by query."""
    known = sorted(set(identities.tolist()))
    generator = np.random.default_rng(0)
    means = []
    for _ in range(draws):
        taken = []
        for index in generator.integers(0, len(known), len(known)):
            taken += [d for d, i in zip(differences.tolist(), identities.tolist(), strict=True) if i == known[index]]
        means.append(sum(taken) / len(taken))
    ordered = sorted(means)

    def quantile(share):
        at = share * (len(ordered) - 1)
        below = int(at)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (at - below) * (ordered[above] - ordered[below])

    return 100 * sum(differences.tolist()) / len(differences), 100 * quantile(0.025), 100 * quantile(0.975)


@settings(max_examples=60, deadline=None)
@given(queries())
def test_it_is_a_loop_over_draws_identities_and_queries(case):
    assert tuple(bootstrap_difference(*case, draws=FEW)) == pytest.approx(in_a_loop(*case, FEW), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(queries())
def test_a_method_against_itself_has_no_difference(case):
    differences, identities = case
    assert bootstrap_difference(differences - differences, identities, FEW) == (0, 0, 0)


@settings(max_examples=30, deadline=None)
@given(queries(), st.randoms(use_true_random=False))
def test_the_order_of_the_queries_changes_nothing(case, random):
    differences, identities = case
    order = list(range(len(identities)))
    random.shuffle(order)
    shuffled = bootstrap_difference(differences[order], identities[order], FEW)
    assert tuple(shuffled) == pytest.approx(tuple(bootstrap_difference(*case, FEW)), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(queries(), st.floats(-1, 1))
def test_a_shift_of_every_difference_shifts_the_interval_by_as_many_points(case, shift):
    differences, identities = case
    before, after = (bootstrap_difference(differences + by, identities, FEW) for by in (0, shift))
    assert tuple(after) == pytest.approx(tuple(value + 100 * shift for value in before), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(queries())
def test_methods_that_change_places_mirror_the_interval(case):
    differences, identities = case
    mean, low, high = bootstrap_difference(differences, identities, FEW)
    assert tuple(bootstrap_difference(-differences, identities, FEW)) == pytest.approx((-mean, -high, -low), abs=1e-9)
    assert low <= high


@settings(max_examples=30, deadline=None)
@given(queries())
def test_what_identities_are_called_does_not_matter_as_long_as_their_order_stays(case):
    differences, identities = case
    assert bootstrap_difference(differences, identities, FEW) == bootstrap_difference(
        differences, identities * 2 + 9, FEW
    )


@settings(max_examples=30, deadline=None)
@given(queries())
def test_repeating_every_query_of_an_identity_makes_nothing_surer(case):
    """As single queries they would be twice as many, and the interval narrower."""
    differences, identities = case
    assume(len(np.unique(identities)) > 1)
    once = bootstrap_difference(differences, identities, FEW)
    twice = bootstrap_difference(np.repeat(differences, 2), np.repeat(identities, 2), FEW)
    assert tuple(twice) == pytest.approx(tuple(once), abs=1e-9)


def test_with_one_identity_every_draw_is_the_same():
    assert bootstrap_difference(np.array([0.1, 0.3]), np.array([5, 5])) == pytest.approx((20, 20, 20))


def test_of_one_query_an_identity_the_interval_is_that_of_the_mean():
    """Of 400 independent queries it is the normal one, 1.96 standard errors to each side."""
    differences = np.random.default_rng(3).normal(0.02, 0.1, 400)
    mean, low, high = bootstrap_difference(differences, np.arange(400))
    error = 100 * differences.std() / 20
    assert (low, high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.15 * error)
    assert DRAWS == 2000 and bootstrap.LEVEL == 95


@pytest.mark.parametrize(("differences", "identities"), [([], []), ([0.1], [1, 2])])
def test_what_does_not_fit_is_named(differences, identities):
    with pytest.raises(ValueError, match="an entry for each of one query or more"):
        bootstrap_difference(np.array(differences), np.array(identities))
