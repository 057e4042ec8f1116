"""The study's script that compares a trained network's images otherwise."""

import re
import sys

import torch
from drop.evaluation import parsing_counts
from small_drop import PROJECT, small

from mdpr_fastreid.engine import Trainer

sys.path.insert(0, str(PROJECT / "study"))
import compared_otherwise


def run_of(folder, *overrides):
    """A run's folder as a training leaves it, of an untrained network."""
    cfg = small("SEED", 1, *overrides, output=folder)
    folder.mkdir()
    (folder / "config.yaml").write_text(cfg.dump())
    model = Trainer.build_model(cfg)
    torch.save({"model": model.state_dict()}, folder / "model_final.pth")
    return cfg, model


def test_each_row_is_what_the_evaluation_with_its_settings_finds(tmp_path, capsys):
    cfg, model = run_of(tmp_path / "run")
    assert compared_otherwise.main([str(tmp_path / "run")]) == 0
    rows = re.findall(r"\| (.*?) +\| (\w*) +\| ([\d.]+) / ([\d.]+) +\|", capsys.readouterr().out)
    assert len(rows) == 3 + 3 * 4
    found = {(names, visibility): (float(mean), float(rank)) for names, visibility, mean, rank in rows}
    for embeddings, binary in ((("foreground", "parts"), True), (("parts",), False), (("whole", "foreground"), True)):
        model.heads.test_embeddings, model.heads.binary = embeddings, binary
        expected = Trainer.test(cfg, model)
        visibility = ("binary" if binary else "continuous") if "parts" in embeddings else ""
        wanted = round(expected["mAP"], 1), round(expected["Rank-1"], 1)
        assert found[" + ".join(embeddings), visibility] == wanted


def test_true_visibility_is_that_of_the_masks():
    classes = torch.tensor([[[0, 2], [2, 2]], [[1, 2], [0, 0]], [[255, 255], [255, 255]]])
    counts = parsing_counts(torch.randn(3, 4, 2, 2).softmax(dim=1), classes)
    expected = torch.tensor([[0.0, 1, 0], [1, 1, 0], [1, 1, 1]])  # of a mask that knows nothing, all
    assert torch.equal(compared_otherwise.true_visibility(counts), expected)


def test_a_folder_without_a_run_and_a_run_of_another_method_are_one_line(tmp_path, capsys):
    assert compared_otherwise.main([str(tmp_path)]) == 2
    assert "has no config.yaml: give the folder of a run" in capsys.readouterr().err
    run_of(tmp_path / "run")
    config = tmp_path / "run/config.yaml"
    changed = {"META_ARCHITECTURE: DROP": "META_ARCHITECTURE: Baseline", "NAME: DROPHead": "NAME: EmbeddingHead"}
    text = config.read_text()
    for old, new in changed.items():
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    assert compared_otherwise.main([str(tmp_path / "run")]) == 2
    assert "is a run of Baseline, which compares no parts" in capsys.readouterr().err
