"""Which index is chosen, and that what it is said to need is what it needs."""

import faiss
import numpy as np
import pytest
from support.embeddings import embeddings

from mdpr_fastreid.embedding import ModelId
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.search import create_store, kinds
from mdpr_fastreid.search.index_building import build_index, recall_at, tune
from mdpr_fastreid.search.kinds import Plan, choose
from mdpr_fastreid.search.vector_file import VectorFile

GIB = 2**30


@pytest.mark.parametrize(
    ("rows", "dim", "memory", "kind"),
    [
        (100, 2048, 1, "exact"),
        (131_072, 2048, 1, "exact"),
        (131_073, 2048, GIB, "hnsw"),
        (1_000_000, 2048, 2 * GIB, "hnsw"),
        (5_000_000, 2048, 2 * GIB, "ivfpq"),
        (10_000_000, 512, 20 * GIB, "hnsw"),
    ],
)
def test_the_kind_follows_from_size_and_memory(rows, dim, memory, kind):
    assert choose(rows, dim, memory=memory).kind == kind


def test_what_does_not_fit_at_all_says_what_it_needs_and_the_way_out():
    with pytest.raises(UsageError, match=r"need .* GiB .* of 0.50 GiB .*--memory, or a Milvus server"):
        choose(10_000_000, 2048, memory=GIB // 2)


def test_a_kind_that_is_asked_for_is_taken():
    assert [choose(1000, 64, kind, memory=1).kind for kind in kinds.KINDS] == list(kinds.KINDS)
    with pytest.raises(UsageError, match="no kind of index 'flat': give auto, exact"):
        choose(1000, 64, "flat")
    for rows, dim in ((1000, 3), (255, 64)):
        with pytest.raises(UsageError, match="no gallery for an approximate index.* --kind exact"):
            choose(rows, dim, "hnsw")


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
@pytest.mark.parametrize("dim", [4, 5, 33])
def test_the_smallest_galleries_can_be_indexed(tmp_path, kind, dim):
    smallest = embeddings(256, model=ModelId("a" * 64, (64, 32), dim))
    with create_store(tmp_path / "g.faiss", smallest, kind=kind) as store:
        assert len(store.search(smallest.vectors[:2], 256)[1]) == 256


def test_half_of_the_free_memory_is_what_may_be_taken(monkeypatch):
    monkeypatch.setattr(kinds, "free_memory", lambda: 4 * GIB)
    assert choose(1_000_000, 2048).kind == "hnsw"
    monkeypatch.setattr(kinds, "free_memory", lambda: 1.2 * GIB)
    assert choose(1_000_000, 2048, memory=None).kind == "ivfpq"


def test_free_memory_is_less_than_all():
    assert 0 < kinds.free_memory() < 2**50


@pytest.fixture(params=[(4000, 64), (4000, 300), (3000, 70)], ids=str)
def vectors(request, tmp_path):
    rows, dim = request.param
    values = np.random.default_rng(0).standard_normal((rows, dim)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    (tmp_path / "v").write_bytes(values.tobytes())
    return VectorFile(tmp_path / "v", rows, dim)


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_an_index_has_the_bytes_that_are_stated(vectors, kind, tmp_path):
    plan = Plan(kind, vectors.rows, vectors.dim)
    faiss.write_index(build_index(plan, vectors), str(tmp_path / "index"))
    assert (tmp_path / "index").stat().st_size == pytest.approx(plan.index_bytes(), rel=0.05, abs=50_000)


def test_the_effort_grows_until_enough_is_found(vectors):
    plan, asked = Plan("hnsw", vectors.rows, vectors.dim), []
    everything = np.concatenate([block for _, block in vectors.blocks()])

    def search(queries, top, effort):
        asked.append(effort)
        right = np.argsort(-(queries @ everything.T), axis=1)[:, :top]
        return right if effort >= 64 else np.full_like(right, -1)

    found = tune(plan, search, vectors)
    assert (found.effort, asked) == (64, [16, 32, 64])
    assert found.recall == {"1": 1.0, "10": 1.0}


def test_recall_is_the_share_of_the_exact_answer():
    exact, found = np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([[2, 1, 9, 9], [5, 0, 0, -1]])
    assert recall_at(exact, found, 1) == 0.5
    assert recall_at(exact, found, 4) == pytest.approx((2 / 4 + 1 / 4) / 2)


def test_the_choice_and_its_recall_are_said(tmp_path):
    said = []
    create_store(tmp_path / "g.faiss", embeddings(500), kind="hnsw", say=said.append).close()
    assert said[0].startswith("approximate search of 500 vectors of 32 numbers (HNSW, 32 links") and "MiB" in said[0]
    assert said[1].startswith("recall@1 ") and "recall@10 " in said[1] and "against exact search" in said[1]
    create_store(tmp_path / "e.faiss", embeddings(500), say=said.append).close()
    assert said[2:] == ["exact search of 500 vectors of 32 numbers: each query is compared with all of them, 0.1 MiB"]


def test_an_index_that_finds_little_says_so(tmp_path, monkeypatch):
    from mdpr_fastreid.search import index_building

    monkeypatch.setattr(index_building, "_EFFORTS", {"ivfpq": (1,)})
    random = embeddings(3000)
    random.vectors[:] = np.random.default_rng(0).standard_normal(random.vectors.shape)
    said = []
    create_store(tmp_path / "g.faiss", random, kind="ivfpq", say=said.append).close()
    assert "that is little, --kind hnsw or exact finds more" in said[1]
