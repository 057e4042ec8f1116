"""``mdpr convert`` on right and wrong files."""

import pickle

import pytest
import torch
from support import golden

from mdpr_fastreid.cli import main
from mdpr_fastreid.weights import read_weights, write_weights
from mdpr_fastreid.weights.published import from_official


@pytest.fixture(scope="module")
def published():
    return golden.load("mdpr_r18_attn3_part3_unguided_plain").state_dict


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_there_and_back_again(tmp_path, capsys, published, suffix):
    first, ours, back = (tmp_path / f"{name}.{suffix}" for name in ("published", "ours", "back"))
    write_weights(published, first)
    assert main(["convert", str(first), str(ours)]) == 0
    assert "ResNet-18, 8 identities, EMBEDDING_DIM 32, PARTS 3" in capsys.readouterr().out
    assert read_weights(ours)[0].keys() == from_official(published).keys()
    assert main(["convert", str(ours), str(back), "--to-official"]) == 0
    returned = read_weights(back)[0]
    assert returned.keys() == published.keys()
    assert all(torch.equal(returned[name], value) for name, value in published.items())


def test_a_checkpoint_gives_its_model_and_reports_the_rest(tmp_path, capsys, published):
    torch.save({"model": published, "optimizer": {"state": {}}, "epoch": 59}, tmp_path / "model_final.pth")
    assert main(["convert", str(tmp_path / "model_final.pth"), str(tmp_path / "ours.pth")]) == 0
    assert "left out, as no weights: optimizer, epoch" in capsys.readouterr().out


def refused(capsys, *words):
    assert main(["convert", *map(str, words)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_mistakes_are_one_line_and_leave_nothing_behind(tmp_path, capsys, published):
    good, out = tmp_path / "good.pth", tmp_path / "out.pth"
    write_weights(published, good)
    assert "none.pth: no such weight file" in refused(capsys, tmp_path / "none.pth", out)

    truncated = tmp_path / "truncated.pth"
    truncated.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    assert "truncated.pth: is truncated" in refused(capsys, truncated, out)
    short = tmp_path / "short.safetensors"
    short.write_bytes(b"\x10\x00\x00")
    assert "short.safetensors: is truncated or not a safetensors file" in refused(capsys, short, out)
    text = tmp_path / "text.pth"
    text.write_text("not weights at all")
    assert "text.pth: is truncated or not a file of torch.save" in refused(capsys, text, out)

    write_weights({name: value for name, value in published.items() if "pool.p" not in name}, tmp_path / "less.pth")
    assert "missing: generate.attn_bap3.pool.p, generate.attn_bap4.pool.p" in refused(
        capsys, tmp_path / "less.pth", out
    )
    torch.save({"model": {"lr": 0.1}}, tmp_path / "numbers.pth")
    assert "holds no state dict" in refused(capsys, tmp_path / "numbers.pth", out)
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name or "tmp" in path.name) == []

    assert "exists already; --force replaces it" in refused(capsys, good, good)


def test_the_other_direction_is_named(tmp_path, capsys, published):
    theirs, ours, out = (tmp_path / name for name in ("theirs.pth", "ours.pth", "out.pth"))
    write_weights(published, theirs)
    write_weights(from_official(published), ours)
    assert "theirs.pth has the published names already" in refused(capsys, theirs, out, "--to-official")
    assert "ours.pth has our names already; --to-official gives it" in refused(capsys, ours, out)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capsys, published):
    write_weights(published, tmp_path / "good.pth")
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for place, options in (("file/out.pth", []), ("folder", ["--force"])):
        error = refused(capsys, tmp_path / "good.pth", tmp_path / place, *options)
        assert f"{tmp_path / place} cannot be written: " in error
    assert not list(tmp_path.glob("*.tmp"))


class Payload:
    """Its ``__reduce__``, set by the test, is what unpickling would call."""


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_file_that_brings_code_is_refused_and_not_run(tmp_path, capsys, how, monkeypatch):
    ran = tmp_path / "ran"
    monkeypatch.setattr(Payload, "__reduce__", lambda self: (ran.touch, ()))
    path = tmp_path / "evil.pth"
    if how == "torch":
        torch.save({"model": Payload()}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Payload()}, protocol=2))
    assert "holds more than weights (pickled code), which is refused" in refused(capsys, path, tmp_path / "out.pth")
    assert not ran.exists()
