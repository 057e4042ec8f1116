"""``mdpr embed``: resumed, shared, appended to, it gives the file that one undisturbed run gives."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.full_disk import fill_disk_at
from support.image_trees import write_images
from support.killed_runs import Killed
from support.saved_runs import saved_run

from mdpr_fastreid import ReID, cli
from mdpr_fastreid.embedding import Embeddings, chunks
from mdpr_fastreid.embedding.chunks import Chunks

NAMES = [f"{pid:04d}_c{camera}s1_{frame:06d}.png" for pid in (1, 2, 3) for camera in (1, 2) for frame in range(7)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    saved_run(folder)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "_IMAGES", 16)  # two batches of 8
    write_images(tmp_path / "images", NAMES, size=(20, 40))
    return tmp_path / "images"


def embed(run, folder, output, *words):
    return cli.main(["embed", str(folder), "-o", str(output), "--model", str(run), *map(str, words)])


def test_a_folder_becomes_a_file_of_what_the_model_gives(run, folder, tmp_path, capsys):
    assert embed(run, folder, tmp_path / "g.npz") == 0
    found = Embeddings.read(tmp_path / "g.npz")
    model = ReID.load(run)
    assert found.names.tolist() == sorted(NAMES)
    assert np.array_equal(found.vectors, model.embed(folder))
    assert found.model == model.about and found.root == str(folder)
    assert found.cameras.tolist() == [name[6] for name in sorted(NAMES)]
    said = capsys.readouterr().out
    assert f"42 images, 2 cameras, 3 identities, no times\nwrote {tmp_path / 'g.npz'}: 42 embeddings" in said
    assert "MDPR of" in said and "folded, float32 on cpu" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.npz", "images"]


def test_a_killed_run_goes_on_and_gives_the_same_file(run, folder, tmp_path, capsys, monkeypatch):
    assert embed(run, folder, tmp_path / "whole.npz") == 0
    write, embedded = Chunks.write, []

    def killed(self, number, chunk):
        if len(embedded) == 2:
            raise Killed
        embedded.append(number)
        write(self, number, chunk)

    monkeypatch.setattr(Chunks, "write", killed)
    with pytest.raises(Killed):
        embed(run, folder, tmp_path / "g.npz")
    assert not (tmp_path / "g.npz").exists()
    monkeypatch.setattr(Chunks, "write", lambda self, *chunk: (embedded.append(chunk[0]), write(self, *chunk)))
    assert embed(run, folder, tmp_path / "g.npz") == 0
    assert embedded == [0, 1, 2]
    assert "going on: 32 of 42 images" in capsys.readouterr().out
    assert (tmp_path / "g.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_chunks_of_changed_images_or_of_another_model_are_not_gone_on_with(run, folder, tmp_path, monkeypatch):
    write = Chunks.write

    def killed(self, number, chunk):
        write(self, number, chunk)
        raise Killed

    monkeypatch.setattr(Chunks, "write", killed)
    for change in ("image", "model"):
        with pytest.raises(Killed):
            embed(run, folder, tmp_path / f"{change}.npz")
    monkeypatch.setattr(Chunks, "write", write)
    write_images(folder, NAMES[:1], size=(20, 40), seed=5)
    assert embed(run, folder, tmp_path / "image.npz") == 0
    other = tmp_path / "other"
    saved_run(other, seed=1)
    assert embed(other, folder, tmp_path / "model.npz") == 0
    for model, name in ((run, "image"), (other, "model")):
        assert np.array_equal(Embeddings.read(tmp_path / f"{name}.npz").vectors, ReID.load(model).embed(folder))


def test_two_processes_give_the_same_file(run, folder, tmp_path):
    words = [str(folder), "--model", str(run), "--batch", "4", "-o"]
    program = (
        "import sys; from mdpr_fastreid.embedding import chunks; chunks._IMAGES = 8; from mdpr_fastreid import cli"
    )
    (tmp_path / "part.py").write_text(f"{program}; sys.exit(cli.main(['embed', *sys.argv[1:]]))\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    environment.pop("RANK", None)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    for launch, name in (([sys.executable], "one"), (torchrun, "two")):
        ended = subprocess.run(
            [*launch, str(tmp_path / "part.py"), *words, str(tmp_path / f"{name}.npz")],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert ended.stdout.count("wrote") == 1


def test_new_images_are_appended(run, folder, tmp_path, capsys):
    last = sorted(NAMES)[-5:]
    taken = {name: (folder / name).read_bytes() for name in last}
    for name in last:
        (folder / name).unlink()
    assert embed(run, folder, tmp_path / "g.npz", "--append") == 0
    assert "g.npz is not there yet: it is made" in capsys.readouterr().out
    for name, content in taken.items():
        (folder / name).write_bytes(content)
    assert embed(run, folder, tmp_path / "g.npz", "--append") == 0
    assert "42 embeddings, 5 of them new" in capsys.readouterr().out
    found = Embeddings.read(tmp_path / "g.npz")
    assert found.names.tolist() == sorted(NAMES)
    assert np.allclose(found.vectors, ReID.load(run).embed(folder), rtol=1e-3, atol=1e-4)
    before = (tmp_path / "g.npz").read_bytes()
    assert embed(run, folder, tmp_path / "g.npz", "--append") == 0
    assert "0 images" in capsys.readouterr().out
    assert (tmp_path / "g.npz").read_bytes() == before


def test_another_folder_is_appended_under_names_of_its_own(run, folder, tmp_path):
    write_images(tmp_path / "more", NAMES[:2], size=(20, 40), seed=3)
    assert embed(run, folder, tmp_path / "g.npz") == 0
    assert embed(run, tmp_path / "more", tmp_path / "g.npz", "--append") == 0
    found = Embeddings.read(tmp_path / "g.npz")
    assert found.names.tolist()[-2:] == [f"../more/{name}" for name in sorted(NAMES[:2])]
    assert Path(found.path(43)).resolve() == tmp_path / "more" / NAMES[1]


def test_damaged_images_are_listed_and_left_out(run, folder, tmp_path, capsys):
    for name in NAMES[3], NAMES[20]:
        (folder / name).write_bytes(b"\x89PNG and no more")
    assert embed(run, folder, tmp_path / "g.npz") == 1
    ended = capsys.readouterr()
    assert ended.err.splitlines()[-1] == "mdpr embed: 2 images could not be read and are left out"
    assert f"{folder / NAMES[20]}: cannot be read as an image" in ended.err
    whole = [name for name in sorted(NAMES) if name not in (NAMES[3], NAMES[20])]
    found = Embeddings.read(tmp_path / "g.npz")
    assert found.names.tolist() == whole
    ours = ReID.load(run).embed([folder / name for name in whole])
    assert np.allclose(found.vectors, ours, rtol=1e-3, atol=1e-4)


def test_an_output_is_kept_unless_it_is_to_be_replaced(run, folder, tmp_path, capsys):
    (tmp_path / "g.npz").write_bytes(b"something else")
    assert embed(run, folder, tmp_path / "g.npz") == 2
    assert "exists already; --append adds to it, --force replaces it" in capsys.readouterr().err
    assert embed(run, folder, tmp_path / "g.npz", "--append") == 2
    assert "g.npz: is damaged or no file of embeddings" in capsys.readouterr().err
    assert (tmp_path / "g.npz").read_bytes() == b"something else"
    assert embed(run, folder, tmp_path / "g.npz", "--force") == 0
    assert len(Embeddings.read(tmp_path / "g.npz")) == 42


def refused(capsys, words, *, run, folder, output, more=()):
    assert embed(run, folder, output, *more) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and words in said[0], said


def test_mistakes_are_one_line(run, folder, tmp_path, capsys):
    there = {"run": run, "folder": folder, "output": tmp_path / "g.npz"}
    refused(capsys, "is no folder", **{**there, "folder": tmp_path / "none"})
    (tmp_path / "empty").mkdir()
    refused(capsys, "holds no images", **{**there, "folder": tmp_path / "empty"})
    refused(capsys, "a file that ends in .npz, or a store", **{**there, "output": tmp_path / "g.pth"})
    refused(capsys, "config.yaml", **{**there, "run": tmp_path / "empty"})
    refused(capsys, "--batch 0", **there, more=("--batch", "0"))
    refused(capsys, "--workers -1", **there, more=("--workers", "-1"))
    refused(capsys, "give one of them", **there, more=("--append", "--force"))
    refused(capsys, "needs one group", **there, more=("--camera-pattern", "x"))
    (tmp_path / "file").write_text("")
    refused(capsys, "cannot be written", **{**there, "output": tmp_path / "file" / "g.npz"})
    assert embed(run, folder, tmp_path / "g.npz") == 0
    capsys.readouterr()
    saved_run(tmp_path / "other", seed=1)
    more = ("--append",)
    refused(capsys, "another model", **{**there, "run": tmp_path / "other"}, more=more)


def test_single_variables_of_a_scheduler_are_not_taken_for_torchrun(run, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert embed(run, folder, tmp_path / "g.npz") == 0
    for name, value in {"WORLD_SIZE": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "here", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    refused(capsys, "RANK 1 of WORLD_SIZE 1: unset them", run=run, folder=folder, output=tmp_path / "h.npz")


def test_a_folder_of_nothing_but_damage_is_one_line(run, folder, tmp_path, capsys):
    for name in NAMES:
        (folder / name).write_bytes(b"")
    refused(capsys, "none of its 42 images can be read", run=run, folder=folder, output=tmp_path / "g.npz")


def test_a_full_disk_loses_nothing(run, folder, tmp_path, capsys):
    fill_disk_at(tmp_path / "g.npz")
    refused(capsys, "g.npz cannot be written", run=run, folder=folder, output=tmp_path / "g.npz")
    assert embed(run, folder, tmp_path / "g.npz") == 0
    assert "going on: 42 of 42" in capsys.readouterr().out
    assert len(Embeddings.read(tmp_path / "g.npz")) == 42


def test_a_store_is_an_output_too(run, folder, tmp_path, capsys):
    from mdpr_fastreid.search import open_store

    assert embed(run, folder, tmp_path / "g.faiss") == 0
    assert f"wrote {tmp_path / 'g.faiss'}: 42 embeddings" in capsys.readouterr().out
    assert embed(run, folder, tmp_path / "g.faiss") == 2
    assert "exists already; --append adds to it" in capsys.readouterr().err
    write_images(tmp_path / "more", NAMES[:2], size=(20, 40), seed=3)
    assert embed(run, tmp_path / "more", tmp_path / "g.faiss", "--append") == 0
    assert "it has 44" in capsys.readouterr().out
    assert embed(run, tmp_path / "more", tmp_path / "g.faiss", "--append") == 0
    assert "0 images" in capsys.readouterr().out
    expected = ReID.load(run).embed([*sorted(folder.iterdir()), *sorted((tmp_path / "more").iterdir())])
    with open_store(tmp_path / "g.faiss") as store:
        found = store.search(expected, 1)
        assert [hit.name for (hit,) in found] == [*sorted(NAMES), *(f"../more/{name}" for name in sorted(NAMES[:2]))]
        assert all(hit.score > 0.9999 for (hit,) in found)
        assert Path(found[-1][0].path).resolve() == tmp_path / "more" / NAMES[1]
    assert embed(run, tmp_path / "more", tmp_path / "g.faiss", "--force") == 0
    with open_store(tmp_path / "g.faiss") as store:
        assert store.count() == 2
    saved_run(tmp_path / "other", seed=1)
    refused(
        capsys, "another model", run=tmp_path / "other", folder=folder, output=tmp_path / "g.faiss", more=("--append",)
    )
