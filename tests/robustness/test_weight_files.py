"""Weight files that are damaged, hostile or no weights: one line, and nothing of the model has changed."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from robustness.entry_points import assert_raises_one_line, files_in, on_linux
from support.bad_weight_files import Harmful
from torch import nn

from mdpr_fastreid.weights import load_backbone, load_for_evaluation, read_checkpoint, start_from

ONES = torch.ones(2)
_ITSELF: dict = {}
_ITSELF["self"] = _ITSELF

CONTENTS = {
    "a number": (3, "holds no state dict"),
    "nothing": (None, "holds no state dict"),
    "a list": ([ONES], "holds no state dict"),
    "a tensor": (ONES, "holds no state dict"),
    "an empty dict": ({}, "holds no state dict"),
    "an empty model": ({"model": {}}, "holds no state dict"),
    "a model that is a list": ({"model": [ONES]}, "holds no state dict; model has no tensors"),
    "a model in a model": ({"model": {"model": {"a": ONES}}}, "holds no state dict; model has no tensors"),
    "text": ({"a": "b"}, "holds no state dict; a has no tensors"),
    "itself": (_ITSELF, "holds no state dict; self has no tensors"),
    "a number as a name": ({1: ONES}, "1 is no name of a weight"),
    "a number as a name, under model": ({"model": {"a": ONES, 7: ONES}}, "7 is no name of a weight"),
    "None as a name": ({"model": {None: ONES}}, "None is no name of a weight"),
    "bytes as a name": ({b"a": ONES}, "is no name of a weight"),
    "a pair as a name": ({("a", "b"): ONES}, "is no name of a weight"),
    "terminal codes in a name": ({"a\x1b[31m\nb": "x"}, "a\\x1b[31m\\nb has no tensors"),
    "a tensor without values": ({"a": torch.ones(2, device="meta")}, "a is without values (meta)"),
    "a sparse tensor": ({"a": torch.eye(3).to_sparse()}, "a is sparse (sparse_coo)"),
    "a compressed sparse tensor": ({"a": torch.eye(3).to_sparse_csr()}, "a is sparse (sparse_csr)"),
    "a complex tensor": ({"a": torch.ones(2, dtype=torch.complex64)}, "a is complex"),
    "a quantised tensor": (
        {"a": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
        "a is quantised (qint8)",
    ),
    "one number a million million times": ({"a": torch.ones(1).expand(10**6, 10**6)}, "a is one number 1,000,000"),
    "a complex array": ({"a": np.ones(2, dtype=complex)}, ""),
    "code": ({"model": {"a": ONES}, "x": Harmful()}, "holds more than weights (pickled code)"),
    "code as a weight": ({"a": Harmful()}, "holds more than weights (pickled code)"),
}
"""What torch.save was given, and what the line says."""

BYTES = {
    "nothing": (b"", "is truncated or not a file of torch.save"),
    "zeros": (bytes(1000), "is truncated or not a file of torch.save"),
    "text": (b"hello", "is truncated or not a file of torch.save"),
    "a page of the web": (b"<!DOCTYPE html><html>404</html>", "is truncated or not a file of torch.save"),
    "a pointer of git-lfs": (b"version https://git-lfs.github.com/spec/v1\n", "is truncated or not a file of torch"),
    "the head of a zip": (b"PK\x03\x04", "is truncated or not a file of torch.save"),
    "an empty zip": (b"PK\x05\x06" + bytes(18), "is truncated or not a file of torch.save"),
    "gzip": (b"\x1f\x8b" + bytes(50), "is truncated or not a file of torch.save"),
    "a pickle": (pickle.dumps({"a": 1}), "is a pickle that torch.save did not write"),
    "code": (pickle.dumps(Harmful()), "refused"),
    "a deep pickle": (b"\x80\x02" + b"]" * 100_000, "is truncated or not a file of torch.save"),
    "safetensors": (safetensors.torch.save({"a": ONES}), "is truncated or not a file of torch.save"),
}

SAFETENSORS = {
    "nothing": b"",
    "zeros": bytes(100),
    "a head that is too long": b"\xff" * 8 + b"{}",
    "a deep head": (100_000).to_bytes(8, "little") + b"[" * 100_000,
    "a head that is no table": (2).to_bytes(8, "little") + b"[]",
    "offsets beyond the end": (
        lambda head: len(head).to_bytes(8, "little") + head
    )(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "an unknown type": (
        lambda head: len(head).to_bytes(8, "little") + head + bytes(8)
    )(b'{"a":{"dtype":"F3","shape":[2],"data_offsets":[0,8]}}'),
    "half a file": safetensors.torch.save({"a": torch.ones(100)})[:200],
}  # fmt: skip


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The path of a weight file, in the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "w.pth"


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.filterwarnings("ignore")
def test_a_file_of_torch_save_that_holds(kind, file):
    content, words = CONTENTS[kind]
    torch.save(content, file)
    before = files_in(file.parent)
    assert_raises_one_line(lambda: read_checkpoint(file), str(file), words)
    assert files_in(file.parent) == before


@pytest.mark.parametrize("kind", BYTES)
@pytest.mark.filterwarnings("ignore")
def test_a_pth_that_is(kind, file):
    content, words = BYTES[kind]
    file.write_bytes(content)
    before = files_in(file.parent)
    assert_raises_one_line(lambda: read_checkpoint(file), str(file), words)
    assert files_in(file.parent) == before


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_a_safetensors_file_that_is(kind, file):
    path = file.with_suffix(".safetensors")
    path.write_bytes(SAFETENSORS[kind])
    assert_raises_one_line(lambda: read_checkpoint(path), str(path), "is truncated or not a safetensors file")


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999])
def test_a_file_that_was_cut(share, file):
    torch.save({"a": torch.arange(1000.0)}, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert_raises_one_line(lambda: read_checkpoint(file), str(file), "truncated")


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_flipped_bit(place, file):
    torch.save({"a": torch.arange(10_000.0)}, file)
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        data = next(entry for entry in archive.infolist() if entry.filename.endswith("data/0"))
    content[data.header_offset + 200 + int(place * 30_000)] ^= 16
    file.write_bytes(content)
    assert_raises_one_line(lambda: read_checkpoint(file), "the checksum of", "does not fit")


def test_a_zip_that_unpacks_to_more_than_it_is(file):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50 << 20))
    assert_raises_one_line(lambda: read_checkpoint(file), "is truncated or not a file of torch.save")


PATHS = {
    "none.pth": "none.pth: no such weight file",
    "a\0b": "no such weight file",
    "/": "is a folder, not a weight file",
    "https://nowhere.invalid/w.pth": "https://nowhere.invalid/w.pth: is an address",
    "https://nowhere.invalid/w.safetensors": "is an address, and weights are read from files: download it",
    "s3://bucket/w.pth": "s3://bucket/w.pth: is an address",
    "file:///w.pth": "is an address",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("read", [read_checkpoint, *(
    lambda path, load=load: load(nn.Linear(2, 2), path) for load in (load_for_evaluation, start_from, load_backbone)
)], ids=["read", "evaluate", "start", "backbone"])  # fmt: skip
def test_a_path_of_no_weight_file(path, read):
    words = PATHS[path] if read is read_checkpoint or path != "/" else "/: "
    assert_raises_one_line(lambda: read(path), words)


@pytest.mark.skipif(not on_linux(), reason="pipes and devices")
@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device", "link to itself"])
def test_weights_that_are_no_regular_file(kind, file):
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file = "/dev/zero"
    else:
        file.symlink_to("/dev/zero" if "device" in kind else file)
    assert_raises_one_line(lambda: read_checkpoint(file), str(file))


WRONG_WEIGHTS = {
    "not a number": (lambda w: w * float("nan"), "holds NaN or infinity"),
    "infinite": (lambda w: w / 0, "holds NaN or infinity"),
    "too large for float32": (lambda w: w.double() * 0 + 1e300, "holds NaN or infinity"),
    "whole numbers": (lambda w: w.long(), "holds whole numbers (int64)"),
    "bytes": (lambda w: w.byte(), "holds whole numbers (uint8)"),
    "yes and no": (lambda w: w > 0, "holds whole numbers (bool)"),
    "of another shape": (lambda w: w[:, :1], "shape"),
    "flat": (lambda w: w.flatten(), "shape"),
}


@pytest.mark.parametrize("kind", WRONG_WEIGHTS)
@pytest.mark.parametrize("load", [load_for_evaluation, start_from])
def test_weights_that_are(kind, load, file):
    change, words = WRONG_WEIGHTS[kind]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save({**model.state_dict(), "0.weight": change(torch.ones(4, 3, 3, 3) + 1)}, file)
    assert_raises_one_line(lambda: load(model, file), str(file), words)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
