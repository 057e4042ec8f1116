"""The script that measures SynthReID's difficulties with trained networks."""

import re
import sys
from pathlib import Path

import pytest
import torch
from small_runs import small_config

from mdpr_fastreid.data.synth import PRESETS, ensure
from mdpr_fastreid.engine import Trainer

sys.path.insert(0, str(Path(__file__).parents[1]))
import knobs


def run_of(folder, *overrides):
    """A run's folder as a training leaves it, of an untrained network."""
    cfg = small_config(folder, "SEED", 1, *overrides)
    cfg.MODEL.HEADS.NUM_CLASSES = 16
    folder.mkdir()
    (folder / "config.yaml").write_text(cfg.dump())
    model = Trainer.build_model(cfg)
    torch.save({"model": model.state_dict()}, folder / "model_final.pth")
    return cfg, model


def test_each_row_is_what_the_evaluation_finds_on_a_set_with_that_knob(tmp_path, capsys, monkeypatch):
    cfg, model = run_of(tmp_path / "run")
    words = [str(tmp_path / "run"), "--root", str(tmp_path / "sets"), "--set", "viewpoint=0,crowd=0.5"]
    assert knobs.main(words) == 0
    rows = re.findall(r"\| (.*?) +\| ([\d.]+) / ([\d.]+) +\|", capsys.readouterr().out)
    found = {name: (float(mean), float(rank)) for name, mean, rank in rows}
    ensure(tmp_path / "other", knobs.changed_by("viewpoint=0,crowd=0.5", PRESETS["tiny"]))
    for name, root in (("as it is", None), ("viewpoint=0,crowd=0.5", tmp_path / "other")):
        if root:
            monkeypatch.setenv("FASTREID_DATASETS", str(root))
        expected = Trainer.test(cfg, model)
        assert found[name] == (round(expected["mAP"], 1), round(expected["Rank-1"], 1))
    assert found["as it is"] != found["viewpoint=0,crowd=0.5"]


def test_the_rows_take_every_difficulty_away():
    taken = {change.partition("=")[0] for row in knobs.ROWS for change in row.split(",") if change.endswith("=0")}
    difficulties = {"viewpoint", "illumination", "occlusion", "query_occlusion", "box_error", "crowd", "sensor"}
    assert taken == difficulties | {"look_alike_share"}


@pytest.mark.parametrize(
    ("overrides", "words", "message"),
    [
        (None, [], "has no config.yaml: give the folder of a run"),
        (["DATASETS.TESTS", ("Market1501",)], [], "was tested on Market1501, and only SynthReID's sets of images"),
        ([], ["--set", "fog=1"], "--set fog=1: no knob is called 'fog'"),
        ([], ["--set", "crowd"], "--set crowd: "),
        ([], ["--set", "crowd=2"], "crowd lies between 0 and 1"),
    ],
)
def test_what_cannot_be_measured_is_one_line(tmp_path, capsys, overrides, words, message):
    if overrides is not None:
        run_of(tmp_path / "run", *overrides)
    assert knobs.main([str(tmp_path / "run"), "--root", str(tmp_path / "sets"), *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]


def test_runs_of_two_sets_are_refused(tmp_path, capsys):
    run_of(tmp_path / "one")
    run_of(tmp_path / "other", "DATASETS.TESTS", ("SynthReIDOccludedTiny",))
    assert knobs.main([str(tmp_path / "one"), str(tmp_path / "other"), "--root", str(tmp_path)]) == 2
    assert "tested on occluded_tiny and tiny: give runs of one set" in capsys.readouterr().err
