"""`mdpr bench train` measures whole training steps."""

import argparse
import json

import torch

from mdpr_fastreid.bench import train
from mdpr_fastreid.bench.cost import multiply_adds
from mdpr_fastreid.bench.rounds import interleaved, peak_memory, speed
from mdpr_fastreid.cli import main

_SMALL = ["--backbone", "r18", "--size", "64x32", "--batch", "8", "--repeats", "1"]
_NARROW = ["--opts", "MODEL.MDPR.EMBEDDING_DIM", "16"]


def test_the_command_writes_every_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "peak_memory", lambda prepare, setting, args: 2.0 if setting == "reference" else 1.0)
    words = ["--methods", "ours", "sbs", "--output", str(tmp_path)]
    assert main(["bench", "train", *_SMALL, *words, *_NARROW]) == 0
    (run,) = json.loads((tmp_path / "train.json").read_text())["runs"]
    rows = {row["setting"]: row for row in run["rows"]}
    assert rows.keys() == {"reference", "ours", "sbs"}
    assert (rows["reference"]["memory_ratio"], rows["ours"]["memory_ratio"]) == (1, 0.5)
    assert rows["ours"]["parameters"] == rows["reference"]["parameters"] > rows["sbs"]["parameters"]
    # Forward and both gradients
    assert 2.9 < rows["sbs"]["multiply_adds"] / _inference_multiply_adds("sbs") < 3.1


def test_components_of_a_step_are_written(tmp_path):
    words = ["--methods", "ours", "--components", "--output", str(tmp_path)]
    assert main(["bench", "train", *_SMALL, *words, *_NARROW]) == 0
    (run,) = json.loads((tmp_path / "train_components.json").read_text())["runs"]
    for setting in ("reference", "ours"):
        rows = {row["component"]: row for row in run["rows"] if row["setting"] == setting}
        assert {"trunk", "fusion", "attention pooling", "heads", "backward", "optimizer"} <= rows.keys()
        assert abs(sum(row["share"] for row in rows.values()) - 1) < 1e-9
        assert min(row["milliseconds"] for row in rows.values()) >= 0


def test_a_step_changes_the_weights_and_every_setting_starts_from_the_same():
    args = _arguments()
    ours, reference = train.trainer(args, "ours"), train.trainer(args, "reference")
    before = [parameter.detach().clone() for parameter in ours.model.parameters()]
    for old, same in zip(before, reference.model.parameters(), strict=True):
        assert torch.equal(old, same)
    train._step(ours)()
    assert not all(torch.equal(old, new) for old, new in zip(before, ours.model.parameters(), strict=True))


def test_all_settings_have_their_turn_in_each_round():
    turns = []
    seconds = interleaved({name: lambda name=name: turns.append(name) for name in "abc"}, 2, "cpu")
    assert "".join(turns) == "abcabcabc"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2, "c": 2}


def test_peak_memory_is_of_what_runs_and_not_of_what_was_before():
    # Linux counts a process's pages to some dozens
    assert 0.499 <= peak_memory(_takes_half_a_gib, "half", _arguments()) < 0.7


def _takes_half_a_gib(args: argparse.Namespace, setting: str):
    torch.ones(2**28)  # a GiB while the network is built

    return lambda: torch.ones(2**27)


def test_ratios_are_within_a_round():
    measured = speed([1.0, 2.0, 10.0], [2.0, 5.0, 30.0], images=10)
    assert measured["ratio"] == {"min": 2.0, "median": 2.5, "max": 3.0}
    assert measured["images_per_second"] == {"min": 1.0, "median": 5.0, "max": 10.0}


def _arguments():
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args([*_SMALL, *_NARROW])


def _inference_multiply_adds(setting: str) -> int:
    return multiply_adds(train.trainer(_arguments(), setting).model, (64, 32))
