"""``mdpr attention``, ``ranklist`` and ``space`` of a run's folder: what they write, and what they refuse."""

import json

import pytest
from PIL import Image
from support.image_trees import write_images
from support.saved_runs import saved_run

from mdpr_fastreid.cli import main
from mdpr_fastreid.config import read_config
from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.inference import load


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    saved_run(folder)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return [str(path) for path in write_images(tmp_path_factory.mktemp("images"), ["a.png", "b.png"])]


def test_a_sheet_of_attention_is_written(run, images, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert main(["attention", *images, "--model", str(run), "-o", str(sheet)]) == 0
    assert Image.open(sheet).format == "PNG"
    said = capsys.readouterr().out
    assert ": attention4_1, attention4_2, attention3_1, attention3_2, stripes" in said
    assert "2 images, 0 that cannot be read" in said


def test_an_image_that_is_none_is_named_and_the_others_are_drawn(run, images, tmp_path, capsys):
    write_images(tmp_path / "folder", ["c.png"])
    broken = tmp_path / "folder/broken.jpg"
    broken.write_bytes(b"")
    sheet = tmp_path / "sheet.jpg"
    assert main(["attention", images[0], str(broken.parent), "--model", str(run), "-o", str(sheet)]) == 1
    assert Image.open(sheet).format == "JPEG"
    ended = capsys.readouterr()
    assert "2 images, 1 that cannot be read" in ended.out
    assert "broken.jpg: cannot be read as an image" in ended.err


def test_rank_lists_have_the_metrics_of_an_evaluation(run, tmp_path, capsys):
    output = tmp_path / "lists"
    command = ["ranklist", "--model", str(run), "-o", str(output), "--worst", "2", "--best", "1", "--top", "5"]
    assert main(command) == 0
    record = json.loads((output / "ranklist.json").read_text())
    cfg = read_config(run / "config.yaml", (), parts=("model", "evaluation"))
    expected = Trainer.test(cfg, load(cfg, run / "model_best.pth", folded=False))
    assert record["metrics"] == {name: pytest.approx(float(value)) for name, value in expected.items()}
    assert [len(one["ranks"]) for one in record["queries"]] == [5, 5, 5]
    capsys.readouterr()
    assert main(command) == 2
    assert capsys.readouterr().err == f"mdpr ranklist: {output} exists already; --force replaces it\n"
    assert main([*command, "--force"]) == 0


def test_a_space_is_drawn(run, tmp_path, capsys):
    picture = tmp_path / "space.png"
    arguments = ["--config-file", str(run), "-o", str(picture), "--method", "pca", "--identities", "5"]
    assert main(["space", *arguments]) == 0
    assert Image.open(picture).size == (1200, 660)
    assert "of 5 identities; PCA" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["attention", "a.png", "-o", "sheet.gif"], "sheet.gif: name a .png or .jpg file"),
        (["attention", "missing.png", "-o", "s.png"], "none of the images can be read"),
        (["attention", *["a.png"] * 101, "-o", "s.png"], "101 images are too many for a sheet: give at most 100"),
        (["ranklist", "-o", "lists", "--worst", "0"], "there is nothing to draw: give --worst or --best a number"),
        (["ranklist", "-o", "lists", "--top", "0"], "--top 0: give a number from 1 to 50"),
        (["space", "-o", "s.png", "--method", "umap"], "--method 'umap': give tsne or pca"),
        (["space", "-o", "s.png", "--identities", "999"], "--identities 999: give a number from 1 to 56"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(run, words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--model" if words[0] == "attention" else "--config-file", str(run)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"mdpr {words[0]}: ") and message in last
    assert not list(tmp_path.glob("*.png"))


def test_a_config_without_weights_says_so(tmp_path, capsys):
    assert main(["space", "--config-file", "MDPR/synthreid_r18.yml", "-o", str(tmp_path / "s.png")]) == 2
    assert "there are no weights to look at: give --weights" in capsys.readouterr().err
