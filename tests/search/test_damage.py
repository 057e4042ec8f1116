"""A store that is damaged, written to by two, killed or out of disk: the old state, and one line."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import faiss
import numpy as np
import pytest
from support.embeddings import MODEL, OTHER, embeddings, queries_of

from mdpr_fastreid.embedding import Embeddings, ModelId
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.search import create_store, faiss_store, kinds, manifest, open_store, segments
from mdpr_fastreid.search import store as stores

WHOLE = embeddings(400)
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of an approximate segment with a deletion, and an exact one."""
    place = tmp_path_factory.mktemp("damage") / "g.faiss"
    with create_store(place, WHOLE, kind="hnsw") as store:
        store.delete(list(WHOLE.names[:3]))
        store.add(embeddings(20, seed=4, prefix="more"))
    return place


@pytest.fixture
def place(made, tmp_path):
    shutil.copytree(made, tmp_path / "g.faiss")
    return tmp_path / "g.faiss"


def files_of(place):
    return sorted(path for path in place.rglob("*") if path.is_file() and path.name != "lock")


def line_of(action):
    with pytest.raises(UsageError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


def everything(place):
    """All that a store has, once it is opened anew and its hashes are compared."""
    with open_store(place) as store:
        store.check()
        found = {hit.name: hit.score for hit in store.search(WHOLE.vectors[:1], 10_000)[0]}
        assert len(found) == store.count()
        return found


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "gone", "longer"])
def test_damage_of_any_file_is_one_line(place, number, damage, monkeypatch):
    files = files_of(place)
    assert len(files) == 7
    path = files[number]
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 64]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:-9], "emptied": b"", "flipped": flipped, "longer": content + b"x"}[damage])
    said = line_of(lambda: open_store(place))
    assert "build" in said and str(place) in said


def test_vectors_too_many_to_be_hashed_at_once_are_checked_where_they_are_used(place, monkeypatch):
    monkeypatch.setattr(kinds, "EXACT_BYTES", 4 * 32 * 50)
    monkeypatch.setattr(segments, "_CANDIDATES_OF_AN_INDEX", 1)
    (path,) = [path for path in files_of(place) if path.name == "vectors.f32" and path.stat().st_size == 400 * 32 * 4]
    vectors = np.fromfile(path, dtype=np.float32).reshape(400, 32)
    vectors[7] = 0
    path.write_bytes(vectors.tobytes())
    with open_store(place) as store:
        assert "unit length" in line_of(lambda: store.search(WHOLE.vectors[7:8], 5))
        assert "unit length" in line_of(lambda: store.vectors([WHOLE.names[7]]))
        assert "content is not what was written" in line_of(store.check)


def test_a_file_that_is_cut_while_it_is_open_is_one_line(place):
    with open_store(place) as store:
        for path in files_of(place):
            if path.name == "vectors.f32":
                os.truncate(path, 64)
        assert "ends too early" in line_of(lambda: store.vectors([WHOLE.names[300]]))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(format=2),
        lambda content: content["segments"][0].update(rows=1),
        lambda content: content["model"].update(dim=8),
        lambda content: content.pop("segments"),
        lambda content: content.pop("sha256"),
    ],
)
def test_a_manifest_that_somebody_changed_is_one_line(place, change):
    path = place / manifest.NAME
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    assert "damaged" in line_of(lambda: open_store(place))


def test_a_store_of_a_later_version_says_so(place):
    path = place / manifest.NAME
    content = json.loads(path.read_text())
    content.pop("sha256")
    content["format"] = 2
    path.write_text(json.dumps({**content, "sha256": manifest._digest(content)}))
    assert "another version" in line_of(lambda: open_store(place))


@pytest.mark.parametrize("what", ["[]", "{}", "null", "nan", "[" * 100_000, "\xff"])
def test_a_manifest_that_is_something_else_is_one_line(place, what):
    (place / manifest.NAME).write_text(what, encoding="latin-1")
    assert "damaged" in line_of(lambda: open_store(place))


def test_another_model_is_refused_and_changes_nothing(place):
    before = everything(place)
    with open_store(place) as store:
        assert "another model" in line_of(lambda: store.add(embeddings(5, model=OTHER)))
    assert "another model" in line_of(lambda: open_store(place, OTHER))
    open_store(place, MODEL).close()
    assert everything(place) == before


def test_a_model_of_another_distance_is_refused(tmp_path):
    model = ModelId("c" * 64, (64, 32), 32, distance="euclidean")
    assert "cosine" in line_of(lambda: create_store(tmp_path / "g.faiss", embeddings(5, model=model)))


@pytest.mark.parametrize("bad", ["nan", "inf", "zero", "twice"])
def test_embeddings_that_cannot_be_searched_are_refused_by_name_and_change_nothing(place, tmp_path, bad):
    wrong = embeddings(30, prefix="wrong")
    names = wrong.names.copy()
    if bad == "twice":
        names[20] = names[3]
    else:
        wrong.vectors[20] = {"nan": np.nan, "inf": np.inf, "zero": 0}[bad]
    wrong = Embeddings(wrong.vectors, names, wrong.cameras, wrong.times, wrong.identities, wrong.model, wrong.root)
    before = everything(place)
    with open_store(place) as store:
        assert names[20] in line_of(lambda: store.add(wrong))
    assert everything(place) == before
    assert names[20] in line_of(lambda: create_store(tmp_path / "new.faiss", wrong))
    assert "no store of embeddings" in line_of(lambda: open_store(tmp_path / "new.faiss"))
    assert [path.name for path in files_of(tmp_path / "new.faiss")] == []


def test_the_same_name_in_two_parts_is_refused(tmp_path):
    parts = (embeddings(10), embeddings(3, seed=2))
    assert "people/0000" in line_of(lambda: create_store(tmp_path / "g.faiss", parts))


@pytest.mark.parametrize("queries", [np.zeros((1, 32)), np.full((2, 32), np.nan), np.ones((1, 31)), np.ones(32)])
def test_queries_that_cannot_be_searched_are_one_line(place, queries):
    with open_store(place) as store:
        line_of(lambda: store.search(queries, 3))


def test_no_query_has_no_answer(place):
    with open_store(place) as store:
        assert store.search(np.empty((0, 32), np.float32), 3) == []


@pytest.mark.parametrize("settings", [{"cameras": "c1"}, {"without_cameras": [[]] * 2}, {"since": float("nan")}])
def test_filters_that_are_none_are_one_line(place, settings):
    with open_store(place) as store:
        line_of(lambda: store.search(WHOLE.vectors[:1], 3, **settings))


@pytest.mark.parametrize("name", ["vectors.f32", "columns.npz", "index-", "manifest.json"])
def test_a_full_disk_leaves_the_old_state(place, monkeypatch, name):
    """What is written to ``name`` goes to /dev/full."""
    before = everything(place)
    write_whole = segments.write_whole

    def full(path, content):
        if Path(path).name.startswith(name):
            Path(f"{path}.tmp").parent.mkdir(parents=True, exist_ok=True)
            Path(f"{path}.tmp").symlink_to("/dev/full")
        write_whole(path, content)

    for module in (segments, manifest):
        monkeypatch.setattr(module, "write_whole", full)
    with open_store(place) as store:
        change = store.rebuild if name == "index-" else lambda kind: store.add(embeddings(50, seed=7))
        assert "cannot be written" in line_of(lambda: change("hnsw"))
        assert len(store.search(WHOLE.vectors[:1], 10_000)[0]) == len(before)
    monkeypatch.undo()
    assert everything(place) == before
    with open_store(place) as store:
        store.add(embeddings(50, seed=7))
        assert store.count() == 420
    assert not any(path.name.endswith(".tmp") for path in files_of(place))


def test_a_folder_that_cannot_be_written_is_one_line(place, monkeypatch):
    if os.geteuid() == 0:
        monkeypatch.setattr(faiss_store.filelock.FileLock, "acquire", _refused)
    else:
        place.chmod(0o500)
    with open_store(place) as store:
        assert "cannot be written" in line_of(lambda: store.add(embeddings(3)))
        assert store.count() == 417


def _refused(self):
    raise PermissionError(13, "Permission denied")


def test_a_writer_that_waits_in_vain_is_one_line_and_readers_are_not_kept(place, monkeypatch):
    monkeypatch.setattr(faiss_store, "_SECONDS_FOR_A_WRITER", 0.2)
    with faiss_store._writing(place), open_store(place) as store:
        assert store.count() == 417
        outcome = []
        thread = threading.Thread(target=lambda: outcome.append(line_of(lambda: store.add(embeddings(3)))))
        thread.start()
        thread.join()
    assert "another process is writing" in outcome[0]


_ADD = """
import sys
from support.embeddings import embeddings
from mdpr_fastreid.search import open_store
store, seed = open_store(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    store.add(embeddings(10, seed=seed, prefix=f"w{seed}-{number}"))
    print(number, flush=True)
"""


def start_writer(place, seed, count):
    return subprocess.Popen(
        [sys.executable, "-c", _ADD, str(place), str(seed), str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "OMP_NUM_THREADS": "1"},
    )


def test_two_writers_and_a_reader_at_once(place):
    before = everything(place)
    writers = [start_writer(place, seed, 15) for seed in (1, 2)]
    counts = []
    with open_store(place) as reader:
        while any(writer.poll() is None for writer in writers):
            hits = reader.search(queries_of(WHOLE, 2), 10_000)
            counts.append(len(hits[0]))
    assert [writer.wait() for writer in writers] == [0, 0]
    assert counts == sorted(counts) and {count % 10 for count in counts} == {len(before) % 10}
    after = everything(place)
    wanted = {f"w{seed}-{number}/{row:05d}.png" for seed in (1, 2) for number in range(15) for row in range(10)}
    assert set(after) == set(before) | wanted


def test_killed_at_any_moment_an_addition_is_there_as_a_whole_or_not_at_all(place):
    before, pause = everything(place), random.Random(0)
    for round_number in range(4):
        writer = start_writer(place, 10 + round_number, 10_000)
        assert writer.stdout.readline() == "ready\n"
        done = 0
        deadline = time.monotonic() + pause.uniform(0.05, 0.6)
        while time.monotonic() < deadline or not done:
            done = int(writer.stdout.readline()) + 1
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read().split()
        writer.wait()
        done = max([done, *(int(number) + 1 for number in said)])
        after = everything(place)
        mine = [name for name in after if name.startswith(f"w{10 + round_number}-")]
        assert len(mine) in (10 * done, 10 * (done + 1))
        assert set(before) <= set(after)
        before = after
    with open_store(place) as store:
        store.add(embeddings(1, prefix="last"))
        assert len(list(place.glob("segment-*"))) == len(store.described())


def test_an_interrupted_making_is_no_store_and_can_be_made_again(tmp_path):
    place = tmp_path / "g.faiss"

    def interrupted():
        yield embeddings(30)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_store(place, interrupted())
    assert "never finished" in line_of(lambda: open_store(place))
    (place / f"{segments.PREFIX}left").mkdir()
    with create_store(place, embeddings(10)) as store:
        assert store.count() == 10
    assert len(list(place.glob("segment-*"))) == 1


def test_a_store_is_replaced_by_force_only_once_the_new_one_is_complete(place):
    assert "exists already" in line_of(lambda: create_store(place, embeddings(5, model=OTHER)))
    before = everything(place)
    reader = open_store(place)
    assert "no image" in line_of(lambda: create_store(place, embeddings(0), force=True))
    assert everything(place) == before
    create_store(place, embeddings(5), force=True).close()
    assert reader.count() == 5
    create_store(place, embeddings(6, model=OTHER), force=True).close()
    assert open_store(place, OTHER).count() == 6
    assert "what replaced it" in line_of(lambda: reader.search(WHOLE.vectors[:1], 3))


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_something_else_is_never_replaced(tmp_path, kind, force):
    place = tmp_path / "mine"
    mine = place / "mine.txt" if kind == "folder" else place
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    assert "is no store" in line_of(lambda: create_store(place, embeddings(5), force=force))
    assert "is no store" in line_of(lambda: open_store(place))
    assert mine.read_text() == "mine"


def test_a_store_may_have_any_name(made, tmp_path):
    before = everything(made)
    for name in ("line\nbreak.faiss", "a\udcff.faiss", "张伟 'ü\".faiss"):
        shutil.copytree(made, tmp_path / name)
        assert everything(tmp_path / name) == before
        with open_store(tmp_path / name) as store:
            store.rebuild("hnsw")
            store.add(embeddings(3, prefix="x"))
            assert store.count() == 420


def test_an_index_that_this_faiss_cannot_read_is_one_line(place, monkeypatch):
    def unknown(path):
        raise RuntimeError("Index type 0x1234 not recognized")

    monkeypatch.setattr(faiss, "read_index", unknown)
    assert "cannot be read by this FAISS" in line_of(lambda: open_store(place))


def test_unit_vectors_are_those_of_the_formula(monkeypatch):
    monkeypatch.setattr(stores, "_ROWS_AT_ONCE", 7)
    given = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32) * 1e6
    expected = [vector / np.sqrt((vector.astype(np.float64) ** 2).sum()) for vector in given]
    np.testing.assert_allclose(stores.unit_vectors(given, range(30), 5), expected, rtol=1e-6)
