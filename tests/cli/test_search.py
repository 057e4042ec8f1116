"""``mdpr index`` and ``mdpr search``: from images to hits, and everything that can be wrong with either."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.full_disk import fill_disk_at
from support.image_trees import write_images
from support.saved_runs import saved_run

from mdpr_fastreid import ReID, cli
from mdpr_fastreid.embedding import Embeddings
from mdpr_fastreid.search import open_store

NAMES = [f"{pid:04d}_c{camera}s1_{frame:06d}.png" for pid in (1, 2, 3, 4) for camera in (1, 2, 3) for frame in (0, 1)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    saved_run(folder)
    return folder


@pytest.fixture(scope="module")
def other_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    saved_run(folder, seed=5)
    return folder


@pytest.fixture(scope="module")
def gallery(run, tmp_path_factory):
    """Images, their embeddings, and a store of these."""
    folder = tmp_path_factory.mktemp("gallery")
    write_images(folder / "images", NAMES, size=(20, 40))
    assert cli.main(["embed", str(folder / "images"), "-o", str(folder / "g.npz"), "--model", str(run)]) == 0
    assert cli.main(["index", str(folder / "g.npz"), "-o", str(folder / "g.faiss")]) == 0
    return folder


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(*words):
    return cli.main([str(word) for word in words])


def written(name):
    return json.loads(Path(name).read_text())


def refused(capsys, *words):
    """The one line that a command is refused with."""
    capsys.readouterr()
    assert call(*words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("kind", ["g.npz", "g.faiss"])
def test_an_image_finds_itself_and_then_what_the_model_ranks(gallery, run, kind, capsys):
    query = gallery / "images" / NAMES[3]
    assert call("search", gallery / kind, query, "--top", 7, "-o", "hits.png") == 0
    found = written("hits.json")
    hits = found["queries"][0]["hits"]
    ranked = ReID.load(run).rank(query, gallery / "images", top=7)
    assert [hit["name"] for hit in hits] == [sorted(NAMES)[index] for index in ranked.indices[0]]
    assert [hit["score"] for hit in hits] == pytest.approx(1 - ranked.distances[0], abs=1e-5)
    assert (hits[0]["rank"], hits[0]["camera"], hits[0]["identity"], hits[0]["time"]) == (1, "2", "1", None)
    assert hits[0]["path"] == str(query) and found["images"] == len(NAMES)
    printed = capsys.readouterr().out
    assert f"{query}, camera 2" in printed and f"{hits[6]['score']:.3f}" in printed
    with Image.open("hits.png") as picture:
        assert picture.width > 7 * 96 and picture.height > 192


def test_a_folder_of_queries_leaves_out_their_cameras_and_others_on_demand(gallery, capsys):
    words = ("search", gallery / "g.faiss", gallery / "images", "--top", 50, "-o", "h.json")
    assert call(*words, "--camera-differs", "--camera", 1, "--camera", 3) == 0
    for query in written("h.json")["queries"]:
        assert {hit["camera"] for hit in query["hits"]} == {"1", "3"} - {query["camera"]}
        assert len(query["hits"]) == (16 if query["camera"] == "2" else 8)
    assert "and 14 more queries" in capsys.readouterr().out


def test_embeddings_are_queries_too_and_re_ranking_reorders(gallery, capsys):
    words = ("search", gallery / "g.faiss", gallery / "g.npz", "--top", 24)
    assert call(*words, "-o", "a.json") == call(*words, "--rerank", "-o", "b.json") == 0
    plain, reranked = (written(name)["queries"] for name in ("a.json", "b.json"))
    for before, after in zip(plain, reranked, strict=True):
        assert {hit["name"] for hit in before["hits"]} == {hit["name"] for hit in after["hits"]}
        distances = [hit["reranked"] for hit in after["hits"]]
        assert distances == sorted(distances) and before["hits"][0]["reranked"] is None
    assert plain != reranked


def test_times_are_filtered_in_seconds_and_as_dates(gallery):
    whole = Embeddings.read(gallery / "g.npz")
    times = 86_400.0 * np.arange(len(whole))
    Embeddings(whole.vectors, whole.names, whole.cameras, times, whole.identities, whole.model, whole.root).write(
        "timed.npz"
    )
    assert (
        call(
            "search",
            "timed.npz",
            "timed.npz",
            "--top",
            50,
            "-o",
            "h.json",
            "--since",
            "1970-01-03",
            "--until",
            "345600",
        )
        == 0
    )
    hits = written("h.json")["queries"][0]["hits"]
    assert sorted(hit["time"] for hit in hits) == [172_800, 259_200, 345_600]


def test_a_query_without_a_known_camera_says_so(gallery, capsys):
    write_images(gallery / "odd", ["somebody.png"], size=(20, 40))
    assert call("search", gallery / "g.faiss", gallery / "odd/somebody.png", "--camera-differs", "--top", 99) == 0
    printed = capsys.readouterr().out
    assert "the camera of 1 of 1 queries is not known" in printed
    assert call("search", gallery / "g.faiss", gallery / "odd/somebody.png", "--camera-pattern", "(some)body") == 0
    assert "camera some" in capsys.readouterr().out


def test_a_query_that_cannot_be_read_is_listed_and_the_others_are_searched(gallery, capsys):
    write_images(gallery / "mixed", ["a.png", "b.png", "c.png"], size=(20, 40))
    (gallery / "mixed/b.png").write_bytes(b"")
    assert call("search", gallery / "g.faiss", gallery / "mixed", "-o", "h.json") == 1
    assert "b.png" in capsys.readouterr().err
    assert [query["query"][-5:] for query in written("h.json")["queries"]] == ["a.png", "c.png"]
    assert call("search", gallery / "g.faiss", gallery / "mixed/b.png") == 1


def test_appended_images_are_found_and_deleted_ones_are_not(gallery, run, capsys):
    write_images(gallery / "more", ["0009_c7s1_000001.png"], size=(20, 40), seed=3)
    assert call("embed", gallery / "more", "-o", "more.npz", "--model", run) == 0
    assert call("index", gallery / "g.npz", "-o", "g.faiss") == 0
    assert call("index", "more.npz", "-o", "g.faiss", "--append") == 0
    assert "added 1 images to g.faiss: it has 25, 4 cameras" in capsys.readouterr().out
    assert call("search", "g.faiss", gallery / "more", "--camera", 7, "-o", "h.json") == 0
    assert len(written("h.json")["queries"][0]["hits"]) == 1
    assert call("index", "more.npz", "-o", "g.faiss", "--append") == 0
    assert "1 of them in the place of images of the same name: it has 25" in capsys.readouterr().out.replace("\n", " ")
    assert call("index", "g.faiss") == call("index", "g.faiss", "--check") == 0
    assert call("index", "g.faiss", "--delete", "0009_c7s1_000001.png") == 0
    assert "deleted 1 images of g.faiss: it has 24" in capsys.readouterr().out
    refusal = refused(capsys, "index", "g.faiss", "--delete", "0009_c7s1_000001.png")
    assert "g.faiss has no 0009_c7s1_000001.png" in refusal


def test_a_store_is_copied_into_another_kind_of_store(gallery, capsys):
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    assert call("index", gallery / "g.faiss", "-o", "g.db") == 0
    words = (gallery / "images" / NAMES[3], "--top", 24, "--camera-differs")
    assert (
        call("search", gallery / "g.faiss", *words, "-o", "a.json")
        == call("search", "g.db", *words, "-o", "b.json")
        == 0
    )
    first, second = (written(name)["queries"][0]["hits"] for name in ("a.json", "b.json"))
    assert [hit["path"] for hit in first] == [hit["path"] for hit in second] and len(first) == 16
    assert "exists already" in refused(capsys, "index", gallery / "g.faiss", "-o", "g.db")
    assert "is no FAISS store" in refused(capsys, "index", "g.db")


@pytest.mark.parametrize("name", ["line\nbreak.png", "quo\"te's.png", "张伟 ü.png", "\x1b[31mred.png", "a\udcff.png"])
def test_names_of_any_kind(run, gallery, tmp_path, name, capsys):
    write_images(tmp_path / "images", ["plain.png", name], size=(20, 40))
    assert call("embed", "images", "-o", "g.npz", "--model", run) == 0
    assert call("index", "g.npz", "-o", "g.faiss") == 0
    assert call("search", "g.faiss", tmp_path / "images" / name, "-o", "h.png") == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and len(printed.splitlines()) < 30
    assert written("h.json")["queries"][0]["hits"][0]["name"] == name
    with open_store("g.faiss") as store:
        assert store.delete([name]) == 1 and store.count() == 1


def test_another_model_is_refused(gallery, other_run, capsys):
    query = gallery / "images" / NAMES[0]
    assert "another model" in refused(capsys, "search", gallery / "g.faiss", query, "--model", other_run)
    assert call("embed", gallery / "images", "-o", "other.npz", "--model", other_run) == 0
    assert "another model" in refused(capsys, "search", gallery / "g.faiss", "other.npz")
    assert call("index", gallery / "g.npz", "-o", "g.faiss") == 0
    assert "another model" in refused(capsys, "index", "other.npz", "-o", "g.faiss", "--append")
    assert call("index", "g.faiss", "--check") == 0


def test_a_model_that_is_not_there_any_more_is_named(gallery, capsys):
    whole = Embeddings.read(gallery / "g.npz")
    moved = type(whole.model).from_dict({**whole.model.to_dict(), "source": "/gone/run"})
    Embeddings(whole.vectors, whole.names, whole.cameras, whole.times, whole.identities, moved).write("m.npz")
    error = refused(capsys, "search", "m.npz", gallery / "images" / NAMES[0])
    assert "was /gone/run, which is not here: --model names it" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("g.faiss", "none.png"), "none.png: no such image"),
        (("none.faiss", "IMAGE"), "there is no store none.faiss"),
        (("IMAGE", "IMAGE"), "is no store of embeddings"),
        (("g.faiss", "IMAGE", "--top", "0"), "--top 0"),
        (("g.faiss", "IMAGE", "g.npz"), "one kind at a time"),
        (("g.faiss", "IMAGE", "-o", "h.gif"), "name a .png or .jpg file"),
        (("g.faiss", "IMAGE", "-o", "nowhere.png/h.png"), "cannot be written"),
        (("g.faiss", "IMAGE", "--camera-pattern", "c"), "needs one group"),
        (("http://127.0.0.1:9", "IMAGE"), "http://127.0.0.1:9 fails"),
    ],
)
def test_a_search_that_cannot_be_is_one_line(gallery, capsys, words, said):
    Path("nowhere.png").touch()
    here = {"IMAGE": gallery / "images" / NAMES[0], "g.faiss": gallery / "g.faiss", "g.npz": gallery / "g.npz"}
    assert said in refused(capsys, "search", *(here.get(word, word) for word in words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.npz", "-o", "x.faiss"), "no such file of embeddings"),
        (("g.npz", "-o", "g.npz"), "is SOURCE"),
        (("g.npz",), "-o names the store to write"),
        (("g.npz", "-o", "x.npz"), "name a store, such as x.faiss"),
        (("g.npz", "-o", "full"), "is no store of embeddings: name another place"),
        (("g.npz", "-o", "full/file"), "is no store of embeddings: name another place"),
        (("g.npz", "-o", "full/file/x.faiss"), "cannot be written"),
        (("g.npz", "-o", "x.faiss", "--append"), "there is no store x.faiss"),
        (("g.npz", "-o", "x.faiss", "--append", "--force"), "--append adds"),
        (("g.npz", "--append"), "--append adds"),
        (("g.npz", "-o", "x.faiss", "--kind", "best"), "no kind of index 'best'"),
        (("g.npz", "-o", "x.faiss", "--memory", "0"), "--memory 0"),
        (("g.npz", "-o", "x.faiss", "--check"), "work on SOURCE alone"),
        (("g.npz", "--check"), "only a FAISS store"),
        (("g.npz", "--delete", "x"), "is only read"),
    ],
)
def test_an_index_that_cannot_be_is_one_line(gallery, tmp_path, capsys, words, said):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    here = {"g.npz": gallery / "g.npz"}
    words = (
        [here.get(word, word) for word in words]
        if words[1:] != ("-o", "g.npz")
        else [gallery / "g.npz", "-o", gallery / "g.npz"]
    )
    assert said in refused(capsys, "index", *words)
    assert (tmp_path / "full/file").read_text() == "mine" and sorted(p.name for p in tmp_path.iterdir()) in (
        ["full"],
        ["full", "x.faiss"],
    )


def test_an_empty_gallery_is_one_line(gallery, capsys):
    whole = Embeddings.read(gallery / "g.npz")
    whole.rows(slice(0)).write("empty.npz")
    assert "no image" in refused(capsys, "index", "empty.npz", "-o", "e.faiss")
    assert "is empty" in refused(capsys, "search", "empty.npz", gallery / "images" / NAMES[0])
    assert call("index", gallery / "g.npz", "-o", "g.faiss") == 0
    with open_store("g.faiss") as store:
        store.delete(NAMES)
    assert "is empty" in refused(capsys, "search", "g.faiss", gallery / "images" / NAMES[0])


def test_results_are_replaced_only_by_force_and_a_full_disk_is_one_line(gallery, tmp_path, capsys):
    words = ("search", gallery / "g.faiss", gallery / "images" / NAMES[0], "-o", "h.png")
    assert call(*words) == 0
    assert "exists already; --force replaces it" in refused(capsys, *words)
    assert call(*words, "--force") == 0
    fill_disk_at(tmp_path / "h.json")
    assert "h.json cannot be written" in refused(capsys, *words, "--force")
    assert written("h.json")["queries"]
    assert "exists already" in refused(capsys, "index", gallery / "g.npz", "-o", gallery / "g.faiss")
