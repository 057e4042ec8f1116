"""The file of embeddings: what was written is read, and nothing else is taken for one."""

import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdpr_fastreid.embedding import Embeddings, ModelId
from mdpr_fastreid.embedding.embeddings import write_embeddings
from mdpr_fastreid.errors import UsageError

MODEL = ModelId("ab" * 32, (64, 32), 3, (("hard", 1), ("soft", 2)), source="/runs/a", source_weights="/runs/a/w.pth")


def some(count=4, names=None, model=MODEL):
    rng = np.random.default_rng(0)
    names = np.array([f"cam1/{n}.jpg" for n in range(count)] if names is None else names, dtype=np.str_)
    return Embeddings(
        rng.normal(size=(count, 3)).astype(np.float32),
        names,
        np.array(["1", "", "3", "north entrance"][:count]),
        np.array([0.0, np.nan, 1e9, 2.5][:count]),
        np.array(["7", "7", "", "x"][:count]),
        model,
        "/data/shop",
    )


def assert_equal(first, second):
    for name in ("vectors", "names", "cameras", "identities"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert np.array_equal(first.times, second.times, equal_nan=True)
    assert first.model.to_dict() == second.model.to_dict() and first.root == second.root


def test_what_was_written_is_read(tmp_path):
    some().write(tmp_path / "new" / "a.npz")
    assert_equal(Embeddings.read(tmp_path / "new" / "a.npz"), some())
    assert some().path(2) == "/data/shop/cam1/2.jpg"


def test_numpy_reads_the_arrays_without_this_package(tmp_path):
    some().write(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert np.array_equal(file["vectors"], some().vectors)
        assert json.loads(str(file["about"]))["model"]["weights"] == MODEL.weights


def test_parts_give_the_same_bytes_as_the_whole(tmp_path):
    whole = some()
    whole.write(tmp_path / "whole.npz")
    write_embeddings(tmp_path / "parts.npz", whole, iter([whole.vectors[:1], whole.vectors[1:1], whole.vectors[1:]]))
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "parts.npz").read_bytes()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=12).filter(lambda s: "\0" not in s), unique=True, min_size=1, max_size=4))
def test_names_may_be_in_any_script(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("names") / "a.npz"
    some(len(names), names).write(path)
    assert Embeddings.read(path).names.tolist() == names


def test_rows_are_chosen():
    chosen = some().rows(np.array([True, False, False, True]))
    assert chosen.names.tolist() == ["cam1/0.jpg", "cam1/3.jpg"]
    assert np.array_equal(chosen.vectors, some().vectors[[0, 3]])


def refused(path, *words):
    with pytest.raises(UsageError) as caught:
        Embeddings.read(path)
    assert all(word in str(caught.value) for word in (str(path), *words)), caught.value
    assert "\n" not in str(caught.value)


def test_what_is_no_file_of_embeddings_is_one_line(tmp_path):
    refused(tmp_path, "is a folder")
    refused(tmp_path / "none.npz", "no such file", "mdpr embed")
    (tmp_path / "text.npz").write_text("hello")
    refused(tmp_path / "text.npz", "damaged or no file of embeddings")
    np.save(tmp_path / "array.npy", np.zeros(3))
    refused(tmp_path / "array.npy", "no archive of arrays")
    np.savez(tmp_path / "other.npz", vectors=np.zeros((2, 3), np.float32))
    refused(tmp_path / "other.npz", "has no names")
    np.savez(tmp_path / "pickle.npz", names=np.array([object()], dtype=object))
    refused(tmp_path / "pickle.npz", "has no vectors")


def changed(tmp_path, **arrays):
    path = tmp_path / "changed.npz"
    some().write(path)
    with np.load(path) as file:
        content = {name: file[name] for name in file.files} | arrays
    np.savez(path, **content)
    return path


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"vectors": np.zeros((4, 2), np.float32)}, "2 long"),
        ({"vectors": np.zeros((4, 3))}, "float64"),
        ({"vectors": np.full((4, 3), np.nan, np.float32)}, "cam1/0.jpg has NaN"),
        ({"vectors": np.zeros((4, 3), np.int32)}, "vectors are int32"),
        ({"names": np.array(["a", "b"])}, "names must be one for each of 4"),
        ({"names": np.array(["a", "b", "a", "c"])}, "twice"),
        ({"names": np.arange(4)}, "names are int64"),
        ({"names": np.array([object()] * 4, dtype=object)}, "damaged or no file"),
        ({"about": np.array("{")}, "no file of embeddings"),
        ({"about": np.array('{"version": 1, "model": {}}')}, "weights"),
        ({"about": np.array(json.dumps({"version": 9, "model": MODEL.to_dict(), "root": ""}))}, "version 9"),
    ],
)
def test_content_that_cannot_be_is_one_line(tmp_path, arrays, words):
    refused(changed(tmp_path, **arrays), words)


def test_a_flipped_bit_or_a_missing_end_is_found(tmp_path):
    path = tmp_path / "a.npz"
    some().write(path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("vectors.npy").header_offset
    for damaged in (content[: len(content) // 2], content[:-10], b"", _flipped(content, start + 250)):
        path.write_bytes(damaged)
        refused(path)


def _flipped(content, at):
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


def test_a_model_is_told_from_others():
    for name, value, words in (
        ("weights", "cd" * 32, "SHA-256 of the weights abababab"),
        ("size", (128, 64), "image size 64x32 and 128x64"),
        ("dim", 4, "length 3 and 4"),
        ("features", (("hard", 3),), "parts hard, soft and hard"),
        ("distance", "euclidean", "distance cosine and euclidean"),
    ):
        other = ModelId.from_dict({**MODEL.to_dict(), name: value})
        with pytest.raises(UsageError, match=words):
            MODEL.check_same(other)
    MODEL.check_same(ModelId.from_dict({**MODEL.to_dict(), "source": "/elsewhere"}))
    assert ModelId.from_dict(json.loads(json.dumps(MODEL.to_dict()))) == MODEL


NO_MODELS = [
    *({}, {"weights": 3, "size": [1, 2], "dim": 3}, {"weights": "a", "size": 3, "dim": 3}, [], "x", None),
    *({"weights": "a", "size": [1, 2], "dim": 0}, {"weights": "a", "size": [1, 2], "dim": 3, "features": [1]}),
]


@pytest.mark.parametrize("content", NO_MODELS)
def test_what_says_nothing_of_a_model_is_one_line(content):
    with pytest.raises(UsageError, match="what it says of its model"):
        ModelId.from_dict(content)
