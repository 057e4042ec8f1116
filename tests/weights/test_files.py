"""Files are read without running code; what is harmless beside the weights is no obstacle."""

import argparse
import collections
import hashlib
import pathlib
import pickle

import numpy as np
import pytest
import torch
from support.full_disk import fill_disk_at

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import write_whole
from mdpr_fastreid.weights import load_weight_file, read_checkpoint, read_weights, sha256_of, write_weights

WEIGHTS = {"conv1.weight": torch.arange(6.0).reshape(2, 3)}

HARMLESS = {
    "settings of a command line": argparse.Namespace(lr=0.03, cos=True, schedule=[120, 160], data=None),
    "a NumPy number": np.float64(71.5),
    "an array": np.arange(3, dtype=np.int64),
    "a path": pathlib.PurePosixPath("data/imagenet"),
    "an ordered dictionary": collections.OrderedDict(a=1),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_beside_weights_there_may_be(tmp_path, what):
    torch.save({"state_dict": WEIGHTS, "extra": HARMLESS[what]}, tmp_path / "weights.pth")
    read = read_checkpoint(tmp_path / "weights.pth")
    assert torch.equal(read["model"]["conv1.weight"], WEIGHTS["conv1.weight"])
    np.testing.assert_equal(vars(read["extra"]) if "settings" in what else read["extra"],
                            vars(HARMLESS[what]) if "settings" in what else HARMLESS[what])  # fmt: skip


class Payload:
    """Its ``__reduce__``, set by the test, is what unpickling would call."""


@pytest.mark.parametrize("where", ["beside the weights", "in the settings"])
def test_code_is_refused_not_run_and_the_message_names_it_and_the_way(tmp_path, monkeypatch, where):
    ran = tmp_path / "ran"
    monkeypatch.setattr(Payload, "__reduce__", lambda self: (open, (str(ran), "w")))
    hidden = Payload() if where == "beside the weights" else argparse.Namespace(hook=Payload())
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"state_dict": {}, "args": hidden}, protocol=2))
    with pytest.raises(UsageError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert not ran.exists()
    assert "evil.pth: holds more than weights (pickled code), which is refused, io.open: " in message
    assert "torch.save(torch.load(OLD, map_location='cpu', weights_only=False)['state_dict'], NEW)" in message
    assert "\n" not in message


def test_a_type_that_pytorch_cannot_read_safely_is_refused_as_such(tmp_path):
    torch.save({"state_dict": WEIGHTS, "log": collections.defaultdict(list, loss=[1.0])}, tmp_path / "log.pth")
    with pytest.raises(UsageError, match=r"log\.pth: holds more than weights"):
        read_checkpoint(tmp_path / "log.pth")


def test_the_way_out_of_the_message_works(tmp_path, monkeypatch):
    """On the machine that may be lost."""
    old, new = tmp_path / "old.pth", tmp_path / "new.pth"
    torch.save({"state_dict": WEIGHTS, "meter": pytest.approx}, old)
    with pytest.raises(UsageError, match="which is refused"):
        read_weights(old)
    torch.save(torch.load(old, map_location="cpu", weights_only=False)["state_dict"], new)
    assert torch.equal(read_weights(new)[0]["conv1.weight"], WEIGHTS["conv1.weight"])


def test_a_pickle_of_another_library_is_refused_with_its_own_way(tmp_path):
    """As Detectron's weights are: NumPy arrays by ``pickle.dump``."""
    old, new = tmp_path / "old.pkl", tmp_path / "new.pth"
    old.write_bytes(pickle.dumps({"model": {"conv1.weight": WEIGHTS["conv1.weight"].numpy()}, "__author__": "MoCo"}))
    with pytest.raises(
        UsageError, match=r"old\.pkl: is a pickle that torch\.save did not write, which is refused"
    ) as caught:
        read_weights(old)
    assert "torch.save(pickle.load(open(OLD, 'rb'))['model'], NEW)" in str(caught.value)
    with old.open("rb") as file:
        torch.save(pickle.load(file)["model"], new)
    np.testing.assert_array_equal(read_weights(new)[0]["conv1.weight"], WEIGHTS["conv1.weight"])


@pytest.mark.parametrize(
    "content", [b"this is no weight file\n", b"root:x:0:0\n", b"0", b"e", b"\n" * 9, b"<html>", b""]
)
def test_a_file_of_anything_else_is_one_line(tmp_path, content):
    (tmp_path / "text.pth").write_bytes(content)
    with pytest.raises(UsageError, match=r"text\.pth: is truncated or not a file of torch\.save"):
        read_weights(tmp_path / "text.pth")


def test_networks_of_a_file_are_told_apart_by_their_names(tmp_path):
    torch.save({"student": WEIGHTS, "teacher": WEIGHTS, "epoch": 3}, tmp_path / "dino.pth")
    weights, left = read_weights(tmp_path / "dino.pth")
    assert list(weights) == ["teacher.conv1.weight", "student.conv1.weight"]
    assert left == ["epoch"]


def test_a_program_and_a_folder_are_named_as_what_they_are(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "program.pt")
    with pytest.raises(UsageError, match=r"program\.pt: is a TorchScript program; save its state_dict"):
        read_weights(tmp_path / "program.pt")
    for folder in (tmp_path, tmp_path / "folder.safetensors"):
        folder.mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="is a folder, not a weight file"):
            read_weights(folder)


def test_the_hash_is_that_of_the_whole_file(tmp_path):
    content = bytes(range(256)) * 9000
    (tmp_path / "large").write_bytes(content)
    assert sha256_of(tmp_path / "large") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_full_disk_is_one_line_and_what_was_there_stays(tmp_path, name):
    write_weights(WEIGHTS, tmp_path / name)
    fill_disk_at(tmp_path / name)
    with pytest.raises(UsageError, match=rf"{name} cannot be written: No space left on device; make room") as caught:
        write_weights({"conv1.weight": torch.zeros(100_000)}, tmp_path / name)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert torch.equal(read_weights(tmp_path / name)[0]["conv1.weight"], WEIGHTS["conv1.weight"])


def test_what_fails_for_other_reasons_than_the_disk_is_not_said_to_be_the_disk(tmp_path):
    def fail(file):
        raise RuntimeError("a mistake of the writer's")

    with pytest.raises(RuntimeError, match="a mistake of the writer's"):
        write_whole(tmp_path / "file", fail)
    assert not list(tmp_path.iterdir())


def test_plain_values_counters_and_arrays_are_read(tmp_path):
    stored = {
        "model": {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "mask": np.array([True])},
        "metric": np.float64(12.5),
        "epoch": np.int64(3),
        "milestones": collections.Counter([30, 55]),
        "order": collections.OrderedDict(a=torch.ones(2)),
    }
    torch.save(stored, tmp_path / "stock.pth")
    read = load_weight_file(tmp_path / "stock.pth")
    assert (read["metric"], read["epoch"], read["milestones"]) == (12.5, 3, stored["milestones"])
    np.testing.assert_array_equal(read["model"]["weight"], stored["model"]["weight"])


def test_a_file_of_something_else_is_named(tmp_path):
    (tmp_path / "notes.pth").write_text("not weights")
    with pytest.raises(UsageError, match=r"notes\.pth: is truncated or not a file of torch\.save"):
        load_weight_file(tmp_path / "notes.pth")


def test_an_interruption_that_pytorchs_writer_covers_is_still_one(tmp_path):
    def interrupted(file):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise RuntimeError("unexpected pos 56512 vs 56406")  # noqa: B904  (as the writer does)

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", interrupted)
    assert list(tmp_path.iterdir()) == []
