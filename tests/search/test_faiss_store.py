"""The store on disk: what it finds, adds, replaces and deletes, against brute force over all that should be there."""

import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from support.embeddings import brute_force, embeddings, queries_of

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.search import create_store, open_store, segments

WHOLE = embeddings(1500)
KINDS = ("exact", "hnsw", "ivfpq")


@contextmanager
def small_limits(kind):
    """An approximate index is asked however few vectors are left."""
    with pytest.MonkeyPatch.context() as patch:
        if kind != "exact":
            patch.setattr(segments, "_FEW_BYTES", 4 * 32 * 100)
            patch.setattr(segments, "_CANDIDATES_OF_AN_INDEX", 2)
        yield


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def made(tmp_path_factory, kind):
    """Built once for each kind."""
    folder = tmp_path_factory.mktemp(kind) / "g.faiss"
    with small_limits(kind):
        create_store(folder, WHOLE, kind=kind).close()
    return folder


@pytest.fixture
def store(made, kind, tmp_path):
    shutil.copytree(made, tmp_path / "g.faiss")
    with small_limits(kind), open_store(tmp_path / "g.faiss") as opened:
        yield opened


def names(hits):
    return [[hit.name for hit in line] for line in hits]


def shared(found, expected):
    """Share of the expected names that are found, query by query in any order."""
    return np.mean([len({*a} & {*b}) / len(b) for a, b in zip(names(found), expected, strict=True)])


def test_it_finds_the_nearest_with_their_similarity(store, kind):
    queries = queries_of(WHOLE, 20)
    found, expected = store.search(queries, 10), brute_force(WHOLE, queries, 10)
    assert shared(found, [[name for name, _ in line] for line in expected]) >= (1 if kind == "exact" else 0.9)
    scores = dict(brute_force(WHOLE, queries, 1500)[0])
    for hit in found[0]:
        assert hit.score == pytest.approx(scores[hit.name], abs=1e-6)
    assert [hit.score for hit in found[0]] == sorted((hit.score for hit in found[0]), reverse=True)


def test_a_hit_says_what_is_known_of_its_image(store):
    (hit,) = store.search(WHOLE.vectors[7:8], 1)[0]
    assert (hit.name, hit.camera, hit.identity) == (WHOLE.names[7], WHOLE.cameras[7], WHOLE.identities[7])
    assert (hit.path, hit.reranked) == (f"/gallery/{hit.name}", None)
    np.testing.assert_equal(hit.time, WHOLE.times[7])
    assert hit.score == pytest.approx(1, abs=1e-6)


def test_what_is_asked_for_beyond_the_gallery_is_the_whole_gallery(store):
    (found,) = store.search(embeddings(1, seed=1).vectors, 5000)
    assert sorted(hit.name for hit in found) == sorted(WHOLE.names)


@pytest.mark.parametrize(
    "condition",
    [
        {"cameras": ["c0", "c3"]},
        {"cameras": [""]},
        {"cameras": ["nowhere"]},
        {"cameras": []},
        {"since": 500.0},
        {"until": 120.5},
        {"since": 700.0, "until": 701.0},
        {"cameras": ["c1"], "since": 1200.0, "without_cameras": [["c1"], []] * 10},
        {"without_cameras": [["c0", "c1", "c2", "c3"], ["c4"]] * 10},
    ],
    ids=str,
)
def test_a_filter_is_exact_however_few_it_leaves(store, kind, condition):
    queries = queries_of(WHOLE, 20)
    found, expected = store.search(queries, 10, **condition), brute_force(WHOLE, queries, 10, **condition)
    wanted = [[name for name, _ in line] for line in expected]
    assert [len(line) for line in found] == [len(line) for line in wanted]
    allowed = brute_force(WHOLE, queries, 1500, **condition)
    for line, right in zip(names(found), allowed, strict=True):
        assert {*line} <= {name for name, _ in right}
    few = max(map(len, allowed)) <= 100
    if kind == "exact" or few:
        assert names(found) == wanted
    elif any(wanted):
        assert shared(found, wanted) >= 0.9


def test_what_is_added_is_found_at_once_also_by_who_opened_before(store, tmp_path):
    reader, more = open_store(tmp_path / "g.faiss"), embeddings(300, seed=5, prefix="more")
    assert store.add(more) == 0
    for one in (store, reader, open_store(tmp_path / "g.faiss")):
        assert one.count() == 1800
        assert [line[0].name for line in one.search(more.vectors[:20], 3)] == list(more.names[:20])


def test_the_same_name_again_replaces(store):
    new = embeddings(40, seed=9)
    assert set(new.names) <= set(WHOLE.names)
    assert store.add(new) == 40
    assert store.count() == 1500
    assert [line[0].name for line in store.search(new.vectors, 1)] == list(new.names)
    assert [line[0].name for line in store.search(WHOLE.vectors[:40], 1)] != list(new.names)
    assert np.abs(store.vectors(list(new.names)) - _units(new.vectors)).max() < 1e-6


def test_many_small_additions_give_few_segments_and_the_same_result_as_one(tmp_path):
    whole = embeddings(640)
    parts = [whole.rows(slice(start, start + 10)) for start in range(0, 640, 10)]
    with create_store(tmp_path / "g.faiss", parts[0]) as store:
        for part in parts[1:]:
            store.add(part)
        assert len(store.described()) <= 7
        assert len(list((tmp_path / "g.faiss").glob("segment-*"))) == len(store.described())
        expected = brute_force(whole, whole.vectors[:30], 5)
        assert names(store.search(whole.vectors[:30], 5)) == [[name for name, _ in line] for line in expected]


def test_what_is_deleted_is_not_found(store):
    gone = list(WHOLE.names[:200])
    assert store.delete([*gone, "never/there.png"]) == 200
    assert (store.count(), store.delete(gone)) == (1300, 0)
    found = {hit.name for line in store.search(WHOLE.vectors[:200], 20) for hit in line}
    assert not found & set(gone)
    assert store.has([gone[3], WHOLE.names[200]]).tolist() == [False, True]
    with pytest.raises(UsageError, match=f"has no image {gone[3]}"):
        store.vectors([gone[3]])


def test_a_store_of_which_all_is_deleted_is_empty(store):
    assert store.delete(list(WHOLE.names)) == 1500
    assert (store.count(), store.cameras(), store.described()) == (0, [], [])
    assert store.search(embeddings(2).vectors, 3) == [[], []]
    assert store.add(embeddings(5)) == 0
    assert store.count() == 5


def test_a_rebuilt_store_has_one_segment_with_what_was_left(store, kind):
    store.delete(list(WHOLE.names[:100]))
    store.add(embeddings(200, seed=5, prefix="more"))
    before = store.search(queries_of(WHOLE, 20), 10)
    said = []
    store.rebuild(kind, say=said.append)
    assert [(one.rows, one.kind, one.deleted) for one in store.described()] == [(1600, kind, None)]
    assert shared(store.search(queries_of(WHOLE, 20), 10), names(before)) >= 0.9
    assert len(said) == (1 if kind == "exact" else 2)
    assert kind == "exact" or "recall@10 0." in said[1] or "recall@10 1." in said[1]


def test_it_says_which_images_it_has(store):
    asked = [WHOLE.names[7], "never/there.png", WHOLE.names[0]]
    assert store.has(asked).tolist() == [True, False, True]
    assert store.has([]).tolist() == []


def test_a_closed_store_answers_nothing(store):
    store.close()
    store.close()
    for ask in (store.count, store.cameras, lambda: store.search(WHOLE.vectors[:1], 1), lambda: store.add(WHOLE)):
        with pytest.raises(ValueError, match="is closed"):
            ask()


def test_cameras_are_those_of_its_images(store):
    assert store.cameras() == ["", "c0", "c1", "c2", "c3", "c4"]
    store.delete(list(WHOLE.names[WHOLE.cameras == "c2"]))
    assert store.cameras() == ["", "c0", "c1", "c3", "c4"]


def _units(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
