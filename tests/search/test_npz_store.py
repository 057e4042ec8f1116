"""A file of embeddings as a gallery."""

import pytest
from support.embeddings import OTHER, brute_force, embeddings, queries_of

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.search import create_store, npz_store, open_store

WHOLE = embeddings(200)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(npz_store, "_ROWS_AT_ONCE", 64)
    WHOLE.write(tmp_path / "g.npz")
    with open_store(tmp_path / "g.npz") as opened:
        yield opened


@pytest.mark.parametrize(
    "condition",
    [{}, {"cameras": ["c1", ""]}, {"since": 50.0, "until": 80.0}, {"without_cameras": [["c0"], [], ["c1", "c2"]]}],
    ids=str,
)
def test_it_finds_what_brute_force_finds(store, condition):
    queries = queries_of(WHOLE, 3)
    found, expected = store.search(queries, 9, **condition), brute_force(WHOLE, queries, 9, **condition)
    assert [[hit.name for hit in line] for line in found] == [[name for name, _ in line] for line in expected]
    for line, right in zip(found, expected, strict=True):
        assert [hit.score for hit in line] == pytest.approx([score for _, score in right], abs=1e-6)


def test_it_says_what_is_known_and_counts(store):
    (hit,) = store.search(WHOLE.vectors[5:6], 1)[0]
    assert hit[:1] + hit[2:] == (WHOLE.names[5], WHOLE.cameras[5], 5.0, "p0", f"/gallery/{WHOLE.names[5]}", None)
    assert (store.count(), store.cameras()) == (200, ["", "c0", "c1", "c2", "c3", "c4"])
    assert (store.vectors([WHOLE.names[5]])[0] @ WHOLE.vectors[5]) ** 2 == pytest.approx(
        WHOLE.vectors[5] @ WHOLE.vectors[5], rel=1e-5
    )


def test_it_says_which_images_it_has(store):
    asked = [WHOLE.names[7], "never/there.png", WHOLE.names[0]]
    assert store.has(asked).tolist() == [True, False, True]
    assert store.has([]).tolist() == []


def test_it_is_only_read(store, tmp_path):
    before = (tmp_path / "g.npz").read_bytes()
    for change in (lambda: store.add(WHOLE), lambda: store.delete(["x"])):
        with pytest.raises(UsageError, match=r"g\.npz is only read: mdpr index"):
            change()
    with pytest.raises(UsageError, match=r"name a store, such as g\.faiss"):
        create_store(tmp_path / "g.npz", WHOLE)
    assert (tmp_path / "g.npz").read_bytes() == before


@pytest.mark.parametrize("change", ["cut", "other", "text", "folder", "gone"])
def test_what_is_no_gallery_is_one_line(store, tmp_path, change):
    path = tmp_path / "g.npz"
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif change == "text":
        path.write_text("no numbers")
    elif change in ("folder", "gone"):
        path.unlink()
        if change == "folder":
            path.mkdir()
    with pytest.raises(UsageError, match=r"g\.npz|embeddings of another model") as error:
        open_store(path, OTHER if change == "other" else None)
    assert "\n" not in str(error.value)
