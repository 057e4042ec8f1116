"""The store in Milvus: Milvus Lite for real, in a file and as a server, and servers that do not answer."""

import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from support.embeddings import OTHER, brute_force, embeddings, queries_of

from mdpr_fastreid.embedding import Embeddings
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.search import create_store, open_store

pytest.importorskip("pymilvus", reason="pymilvus is not installed")
pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")

WHOLE = embeddings(600)
_SERVER = """
import sys, time
from milvus_lite.adapter.grpc.server import start_server_in_thread
server, database, port = start_server_in_thread(data_dir=sys.argv[1], host="127.0.0.1", port=0)
print(port, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("milvus") / "g.db"
    create_store(place, WHOLE).close()
    return place


@pytest.fixture
def store(made, tmp_path):
    shutil.copytree(made, tmp_path / "g.db")
    with open_store(tmp_path / "g.db") as opened:
        yield opened


@pytest.fixture
def server(tmp_path):
    """A process that serves Milvus, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(tmp_path / "served.db")], stdout=subprocess.PIPE, text=True
    )
    yield process, f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.kill()
    process.wait()


def names(hits):
    return [[hit.name for hit in line] for line in hits]


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"cameras": ["c0", "c3"]},
        {"cameras": [""]},
        {"cameras": ['nowhere"] or key != ["']},
        {"cameras": []},
        {"since": 500.0},
        {"until": 120.5},
        {"until": float("inf")},
        {"cameras": ["c1"], "since": 120.0, "until": 520.0, "without_cameras": [["c1"], []] * 5},
        {"without_cameras": [["c0", "c1", "c2", "c3"], ["c4"]] * 5},
    ],
    ids=str,
)
def test_it_finds_what_brute_force_finds(store, condition):
    queries = queries_of(WHOLE, 10)
    found, expected = store.search(queries, 8, **condition), brute_force(WHOLE, queries, 8, **condition)
    assert names(found) == [[name for name, _ in line] for line in expected]
    for line, right in zip(found, expected, strict=True):
        assert [hit.score for hit in line] == pytest.approx([score for _, score in right], abs=1e-5)


def test_a_hit_says_what_is_known_of_its_image(store):
    for row in (3, 7):
        (hit,) = store.search(WHOLE.vectors[row : row + 1], 1)[0]
        assert (hit.name, hit.camera, hit.identity) == (WHOLE.names[row], WHOLE.cameras[row], WHOLE.identities[row])
        assert hit.path == f"/gallery/{hit.name}"
        np.testing.assert_equal(hit.time, WHOLE.times[row])


def test_adding_replacing_deleting_and_counting(store):
    more, again = embeddings(50, seed=5, prefix="more"), embeddings(20, seed=9)
    assert (store.count(), store.add(more), store.add(again), store.count()) == (600, 0, 20, 650)
    assert [line[0].name for line in store.search(again.vectors, 1)] == list(again.names)
    units = again.vectors / np.linalg.norm(again.vectors, axis=1, keepdims=True)
    assert np.abs(store.vectors(list(again.names)) - units).max() < 1e-6
    assert store.delete([*again.names, "never/there.png"]) == 20
    assert store.count() == 630
    with pytest.raises(UsageError, match=f"has no image {again.names[3]}"):
        store.vectors([again.names[3]])
    assert store.cameras() == ["", "c0", "c1", "c2", "c3", "c4"]


def test_it_says_which_images_it_has(store):
    asked = [WHOLE.names[7], "never/there.png", WHOLE.names[0]]
    assert store.has(asked).tolist() == [True, False, True]
    assert store.has([]).tolist() == []


def test_more_than_there_is_gives_all(store):
    assert sorted(hit.name for hit in store.search(WHOLE.vectors[:1], 20_000)[0]) == sorted(WHOLE.names)


def test_names_with_quotes_newlines_and_of_any_script(tmp_path):
    odd = ['a"b.png', "a'b\\.png", "line\nbreak.png", "张伟/ü.png", "] or 1 == 1 or key in [.png"]
    one = embeddings(len(odd))
    made = Embeddings(one.vectors, np.array(odd), np.array(odd), one.times, np.array(odd), one.model, "/g")
    with create_store(tmp_path / "g.db", made) as store:
        assert store.cameras() == sorted(odd)
        for row, name in enumerate(odd):
            (hit,) = store.search(one.vectors[row : row + 1], 5, cameras=[name])[0]
            assert (hit.name, hit.camera, hit.identity) == (name, name, name)
            assert store.delete([name]) == 1
        assert store.count() == 0


def test_a_name_that_is_no_text_is_one_line(tmp_path):
    one = embeddings(1)
    bad = Embeddings(one.vectors, np.array(["a\udcff.png"]), one.cameras, one.times, one.identities, one.model, "/g")
    with pytest.raises(UsageError, match="is no text that Milvus stores"):
        create_store(tmp_path / "g.db", bad)


def test_another_model_is_refused_and_changes_nothing(store, tmp_path):
    with pytest.raises(UsageError, match="another model"):
        store.add(embeddings(5, model=OTHER))
    assert store.count() == 600
    with pytest.raises(UsageError, match="another model"):
        open_store(tmp_path / "g.db", OTHER)


def test_a_store_that_is_there_is_replaced_only_by_force_and_only_when_the_new_one_is_complete(store, tmp_path):
    place = tmp_path / "g.db"

    def interrupted():
        yield embeddings(30)
        raise RuntimeError("stop")

    with pytest.raises(UsageError, match="exists already"):
        create_store(place, embeddings(30))
    with pytest.raises(RuntimeError, match="stop"):
        create_store(place, interrupted(), force=True)
    assert store.count() == 600
    with create_store(place, embeddings(30), force=True) as made:
        assert made.count() == 30


def test_a_collection_of_somebody_else_is_one_line_and_is_left_alone(tmp_path):
    from pymilvus import MilvusClient

    create_store(tmp_path / "g.db", embeddings(3)).close()
    store = open_store(tmp_path / "g.db")
    client = MilvusClient(str(tmp_path / "g.db"))
    client.drop_collection("gallery")
    client.create_collection("gallery", dimension=8)
    with pytest.raises(UsageError, match="is not of mdpr index"):
        open_store(tmp_path / "g.db")
    with pytest.raises(UsageError, match="exists already"):
        create_store(tmp_path / "g.db", embeddings(3))
    assert client.has_collection("gallery")
    client.close()
    store.close()


def test_an_empty_gallery_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="no image"):
        create_store(tmp_path / "g.db", embeddings(0))


def test_a_file_that_another_process_has_open_is_one_line_and_can_be_opened_after_it(made, tmp_path):
    shutil.copytree(made, tmp_path / "g.db")
    program = "import sys; from mdpr_fastreid.search import open_store; print(open_store(sys.argv[1]).count())"
    words = [sys.executable, "-c", program, str(tmp_path / "g.db")]
    with open_store(tmp_path / "g.db"):
        ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 1 and "another process has it open" in ended.stderr.splitlines()[-1]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ended.stdout.split()[-1] == "600"


@pytest.mark.parametrize("content", ["folder", "file"])
def test_what_is_no_database_is_one_line(tmp_path, content):
    place = tmp_path / "x.db"
    place.mkdir() if content == "folder" else place.write_bytes(b"SQLite format 3\0")
    with pytest.raises(UsageError, match=r"x\.db") as error:
        open_store(place)
    assert "\n" not in str(error.value)


def test_a_server_is_the_same_and_a_line_once_it_is_gone(server, monkeypatch):
    from mdpr_fastreid.search import milvus_store

    monkeypatch.setattr(milvus_store, "_SECONDS", 5.0)
    process, address = server
    with create_store(f"{address}#people", WHOLE) as store:
        queries = queries_of(WHOLE, 5)
        expected = brute_force(WHOLE, queries, 8, cameras=["c1"])
        found = store.search(queries, 8, cameras=["c1"])  # Milvus Lite's approximate search may miss one
        assert [line[0] for line in names(found)] == [line[0][0] for line in expected]
        assert {hit.camera for line in found for hit in line} == {"c1"}
        with pytest.raises(UsageError, match=r"has no collection gallery \(it has people\)"):
            open_store(address)
        process.kill()
        process.wait()
        start = time.monotonic()
        with pytest.raises(UsageError) as error:
            store.search(queries, 8)
        assert address in str(error.value) and "\n" not in str(error.value)
        assert time.monotonic() - start < 60


@pytest.mark.parametrize("kind", ["nobody", "silent", "something else"])
def test_a_server_that_does_not_answer_is_one_line_within_seconds(kind, tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind != "nobody":
            listener.listen()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = None
        if kind == "something else":
            listener.close()
            process = subprocess.Popen(
                [sys.executable, "-m", "http.server", address.rpartition(":")[2], "--bind", "127.0.0.1"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=tmp_path,
            )
            _wait_for(address)
        start = time.monotonic()
        try:
            with pytest.raises(UsageError) as error:
                open_store(address)
        finally:
            if process:
                process.kill()
                process.wait()
    assert address in str(error.value) and "\n" not in str(error.value)
    assert time.monotonic() - start < 60  # five seconds on a machine that is not busy


@pytest.mark.parametrize("where", ["http://", "http://h:99999", "http://h#a-b", "http://h:1#" + "a" * 300])
def test_what_is_no_address_is_one_line(where):
    with pytest.raises(UsageError, match="is no (address|name)"):
        open_store(where)


def test_without_pymilvus_the_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(UsageError, match=r"pip install 'mdpr-fastreid\[milvus\]'"):
        create_store(tmp_path / "g.db", embeddings(3))


def _wait_for(address):
    host, _, port = address.removeprefix("http://").partition(":")
    for _ in range(200):
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
