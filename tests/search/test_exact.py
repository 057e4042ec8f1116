"""Exact search against sorting all products."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mdpr_fastreid.search import exact
from mdpr_fastreid.search.exact import nearest


@given(
    st.integers(0, 40), st.integers(1, 30), st.integers(1, 50), st.integers(1, 12), st.integers(0, 2**31), st.booleans()
)
def test_it_is_the_head_of_all_products_in_order(count, queries, top, step, seed, filtered):
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (count, 3)).astype(np.float32)  # with ties
    asked = rng.integers(-2, 3, (queries, 3)).astype(np.float32)
    allowed = rng.random(count) < 0.5 if filtered else None
    blocks = [
        (np.arange(start, min(start + step, count)), vectors[start : start + step]) for start in range(0, count, step)
    ]
    exact._QUERIES_AT_ONCE, before = 7, exact._QUERIES_AT_ONCE
    try:
        scores, rows = nearest(asked, blocks, top, allowed)
    finally:
        exact._QUERIES_AT_ONCE = before
    for query, line, there in zip(asked, scores, rows, strict=True):
        expected = sorted(
            (-float(query @ vector) for row, vector in enumerate(vectors) if allowed is None or allowed[row])
        )[:top]
        found = there[there >= 0]
        assert [-score for score in line[: len(found)].tolist()] == expected
        assert len(set(found.tolist())) == len(found) and (there[len(found) :] == -1).all()
        assert [float(query @ vectors[row]) for row in found] == line[: len(found)].tolist()
        assert allowed is None or allowed[found].all()


def test_no_query_has_no_result():
    scores, rows = nearest(np.empty((0, 4), np.float32), [(np.arange(3), np.ones((3, 4), np.float32))], 2)
    assert len(scores) == len(rows) == 0
