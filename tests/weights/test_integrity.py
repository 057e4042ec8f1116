"""A weight file is the one that was saved, bit for bit, or it is refused."""

import os
import subprocess
import zipfile

import pytest
import torch
from torch import nn

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import fit_to, read_weights, write_weights

WEIGHTS = {"conv1.weight": torch.arange(4096.0).reshape(64, 64)}
NAMES = ["weights.pth", "weights.safetensors"]


def flip_a_bit(path):
    """In the middle of a tensor's numbers: what is read is another number, and no error."""
    content = bytearray(path.read_bytes())
    value = torch.tensor(2048.0).numpy().tobytes()
    content[content.index(value) + 2] ^= 0x40
    path.write_bytes(content)


def test_a_flipped_bit_is_found_by_the_checksums_of_the_archive_alone(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model": WEIGHTS}, path)
    flip_a_bit(path)
    assert not torch.equal(torch.load(path)["model"]["conv1.weight"], WEIGHTS["conv1.weight"])  # torch does not look
    with pytest.raises(
        UsageError, match=r"weights\.pth: is damaged, the checksum of weights/data/0 in it does not fit"
    ):
        read_weights(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_is_found_by_the_sum_beside_the_file(tmp_path, name):
    path = tmp_path / name
    write_weights(WEIGHTS, path)
    assert torch.equal(read_weights(path)[0]["conv1.weight"], WEIGHTS["conv1.weight"])
    flip_a_bit(path)
    with pytest.raises(UsageError, match=r"weights\.\w+: .*is damaged"):
        read_weights(path)


def test_the_sum_is_one_that_sha256sum_reads(tmp_path):
    write_weights(WEIGHTS, tmp_path / "weights.pth")
    checked = subprocess.run(
        ["sha256sum", "--check", "weights.pth.sha256"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout) == (0, "weights.pth: OK\n")


def replaced(path):
    write_weights(WEIGHTS, path)
    other = path.with_stem("other")
    write_weights({"conv1.weight": torch.ones(2)}, other)
    path.write_bytes(other.read_bytes())
    return path


def test_a_file_without_checksums_that_was_replaced_is_refused_until_its_old_sum_is_gone(tmp_path):
    path = replaced(tmp_path / "weights.safetensors")
    with pytest.raises(UsageError, match=r"or was replaced\. Take another copy, .* or delete weights\.\w+\.sha256"):
        read_weights(path)
    (tmp_path / "weights.safetensors.sha256").unlink()
    assert len(read_weights(path)[0]["conv1.weight"]) == 2


def test_a_file_with_checksums_that_was_replaced_is_read_with_a_warning(tmp_path, caplog):
    path = replaced(tmp_path / "weights.pth")
    assert len(read_weights(path)[0]["conv1.weight"]) == 2
    assert "its SHA-256 is not the one in weights.pth.sha256: it was replaced since" in caplog.text


def test_killed_between_the_file_and_its_sum_the_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    write_weights(WEIGHTS, path)

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("mdpr_fastreid.weights.integrity.sha256_of", killed)
    with pytest.raises(KeyboardInterrupt):
        write_weights({"conv1.weight": torch.ones(2)}, path)
    monkeypatch.undo()
    assert len(read_weights(path)[0]["conv1.weight"]) == 2


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path, share):
    path = tmp_path / "weights.pth"
    torch.save({"model": WEIGHTS}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UsageError, match=r"weights\.pth: is truncated"):
        read_weights(path)


def test_an_archive_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.pth", "w") as archive:
        archive.writestr("photo.jpg", b"no weights")
    with pytest.raises(UsageError, match=r"photos\.pth: is truncated or not a file of torch\.save"):
        read_weights(tmp_path / "photos.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_names_within_a_damaged_archive_are_escaped(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("a\nb\x1b[31m", b"tensor")
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(content.replace(b"tensor", b"tensoR"))
    with pytest.raises(UsageError, match="the checksum of .* does not fit") as caught:
        read_weights(tmp_path / "w.pth")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("bit", range(16))
def test_an_archive_whose_flags_are_damaged_is_read_or_refused_in_one_line(tmp_path, bit):
    write_weights({"a": torch.ones(3)}, tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    (tmp_path / "w.pth.sha256").unlink()
    entry = content.index(b"PK\x01\x02")
    content[entry + 8 + bit // 8] ^= 1 << bit % 8
    (tmp_path / "w.pth").write_bytes(content)
    line = ""
    try:
        read_weights(tmp_path / "w.pth")
    except UsageError as error:
        line = str(error)
    assert line.isprintable()
    assert bit or "damaged" in line or "truncated" in line  # bit 0 says that it is encrypted


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")  # opening it would wait for ever
    (tmp_path / "zero.pth").symlink_to("/dev/zero")
    for name in ("pipe.pth", "zero.pth"):
        with pytest.raises(UsageError, match=rf"{name}: is no regular file, not a weight file"):
            read_weights(tmp_path / name)


def test_a_name_that_no_file_can_have_is_no_such_file():
    with pytest.raises(UsageError, match="no such weight file"):
        read_weights("weights\0.pth")


UNUSUAL = {
    "complex": lambda: torch.ones(2, 2, dtype=torch.complex64),
    r"sparse \(sparse_coo\)": lambda: torch.ones(2, 2).to_sparse(),
    r"quantised \(qint8\)": lambda: torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8),
    r"without values \(meta\)": lambda: torch.ones(2, 2, device="meta"),
}


@pytest.mark.filterwarnings("ignore")  # PyTorch's own, of quantised tensors
@pytest.mark.parametrize("what", UNUSUAL)
def test_tensors_that_no_weight_can_be_are_refused(tmp_path, what):
    torch.save({"model": {"conv1.weight": UNUSUAL[what]()}}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=rf"w\.pth: conv1\.weight is {what}, and weights are dense numbers"):
        read_weights(tmp_path / "w.pth")


def test_whole_numbers_are_no_weights_but_may_be_counters():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    state_dict = model.state_dict()
    assert not fit_to(model, state_dict).missing
    state_dict["0.weight"] = torch.ones(2, 2, dtype=torch.int8)
    with pytest.raises(UsageError, match=r"holds whole numbers \(int8\) where the model has .* 0\.weight"):
        fit_to(model, state_dict)
