"""Re-ranking hits is the evaluation's re-ranking with the hits as the gallery."""

import numpy as np
import pytest
from support.embeddings import embeddings, queries_of

from mdpr_fastreid.evaluation import blended_distances
from mdpr_fastreid.search import create_store, rerank, reranking, search_reranked

WHOLE = embeddings(300)


@pytest.fixture
def store(tmp_path):
    with create_store(tmp_path / "g.faiss", WHOLE) as made:
        yield made


def test_the_order_is_that_of_the_evaluations_distances(store):
    query = queries_of(WHOLE, 1)
    expected = blended_distances(query, WHOLE.vectors, "cosine")[0]
    (hits,) = store.search(query, 300)
    found = rerank(store, query[0], hits)
    assert [hit.name for hit in found[:20]] == [WHOLE.names[row] for row in np.argsort(expected, kind="stable")[:20]]
    assert [hit.reranked for hit in found] == sorted(expected)[: len(found)] or np.allclose(
        [hit.reranked for hit in found], np.sort(expected), atol=1e-5
    )
    scores = {hit.name: hit.score for hit in hits}
    assert all(hit.score == scores[hit.name] for hit in found)
    assert [hit.name for hit in found] != [hit.name for hit in hits]


def test_only_the_first_are_reranked_and_the_filter_holds(store, monkeypatch):
    monkeypatch.setattr(reranking, "DEPTH", 25)
    queries = queries_of(WHOLE, 4)
    plain, found = store.search(queries, 25, cameras=["c1"]), search_reranked(store, queries, 5, cameras=["c1"])
    for line, before in zip(found, plain, strict=True):
        assert len(line) == 5 and {hit.name for hit in line} <= {hit.name for hit in before}
        assert {hit.camera for hit in line} == {"c1"}


def test_nothing_is_reranked_to_nothing_and_one_to_one(store):
    query = queries_of(WHOLE, 1)
    assert rerank(store, query[0], []) == []
    assert search_reranked(store, query, 10, cameras=["nowhere"]) == [[]]
    assert len(search_reranked(store, query, 1)[0]) == 1
