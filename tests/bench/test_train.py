"""`mdpr bench train` measures whole training steps."""

import argparse
import json
import re
import sys

import pytest
import torch
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from mdpr_fastreid.bench import infer, train
from mdpr_fastreid.bench.cost import multiply_adds
from mdpr_fastreid.bench.rounds import interleaved, peak_memory, speed
from mdpr_fastreid.cli import main
from mdpr_fastreid.config import config_file

_SMALL = ["--backbone", "r18", "--size", "64x32", "--batch", "8", "--repeats", "1"]
_NARROW = ["--opts", "MODEL.MDPR.EMBEDDING_DIM", "16"]


def test_the_command_writes_every_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "peak_memory", lambda prepare, setting, args: 2.0 if setting == "reference" else 1.0)
    words = ["--methods", "ours", "accumulated", "sbs", "--output", str(tmp_path)]
    assert main(["bench", "train", *_SMALL, *words, *_NARROW]) == 0
    (run,) = json.loads((tmp_path / "train.json").read_text())["runs"]
    rows = {row["setting"]: row for row in run["rows"]}
    assert rows.keys() == {"reference", "ours", "accumulated", "sbs"}
    # Half of the batch goes forward twice, and weights are transformed for each part
    assert 1.1 < rows["accumulated"]["multiply_adds"] / rows["ours"]["multiply_adds"] < 2
    assert (rows["reference"]["memory_ratio"], rows["ours"]["memory_ratio"]) == (1, 0.5)
    assert rows["ours"]["parameters"] == rows["reference"]["parameters"] > rows["sbs"]["parameters"]
    # Forward and both gradients
    assert 2.9 < rows["sbs"]["multiply_adds"] / _inference_multiply_adds("sbs") < 3.1


OWN_METHOD = '''
import torch
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline


@META_ARCH_REGISTRY.register()
class MaskedBaselineOfBench(Baseline):
    """Needs the masks of a batch in training."""

    def forward(self, batch):
        if self.training:
            masks = batch["masks"]
            assert masks.shape == (len(batch["images"]), *batch["images"].shape[2:]) and masks.dtype == torch.uint8
            assert masks.unique().tolist() == [0, 1]
        return super().forward(batch)
'''


@pytest.fixture
def own_method(tmp_path, monkeypatch):
    """Path of a config whose model another module registers, in the present folder."""
    (tmp_path / "own_of_bench.py").write_text(OWN_METHOD)
    base = config_file("Baselines/sbs_duke_r50.yml")
    (tmp_path / "own.yml").write_text(
        f'_BASE_: {base}\nMODEL:\n  META_ARCHITECTURE: MaskedBaselineOfBench\nINPUT:\n  FIELDS: ("mask",)\n'
    )
    monkeypatch.chdir(tmp_path)
    yield "own.yml"
    META_ARCH_REGISTRY._obj_map.pop("MaskedBaselineOfBench", None)
    sys.modules.pop("own_of_bench", None)


def test_a_config_is_measured_against_a_setting_without_the_reference(own_method, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "peak_memory", lambda prepare, setting, args: 3.0 if setting == own_method else 2.0)
    words = ["--methods", own_method, "--against", "sbs", "--import", "own_of_bench", "--output", str(tmp_path)]
    assert main(["bench", "train", *_SMALL, *words]) == 0
    (run,) = json.loads((tmp_path / "train.json").read_text())["runs"]
    rows = {row["setting"]: row for row in run["rows"]}
    assert list(rows) == ["sbs", "own.yml"] and run["about"]["reference"] == "sbs"
    assert rows["sbs"]["ratio"]["median"] == 1 and rows["own.yml"]["memory_ratio"] == 1.5
    # It is SBS with masks, by the plugin's convolutions
    assert rows["own.yml"]["parameters"] == rows["sbs"]["parameters"]
    assert rows["own.yml"]["multiply_adds"] == pytest.approx(rows["sbs"]["multiply_adds"], rel=0.1)


CLIPS_ALONE = """
import torch
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline


@META_ARCH_REGISTRY.register()
class ClipBaselineOfBench(Baseline):
    def forward(self, batch):
        if self.training:
            assert sorted(batch) == ["clips", "targets"] and batch["clips"].shape[1:] == (2, 3, 64, 32)
            return super().forward({"images": batch["clips"][:, 0], "targets": batch["targets"]})
        assert isinstance(batch, torch.Tensor) or {"images", "clips"} <= batch.keys()
        return super().forward(batch)
"""


@pytest.mark.parametrize("verb", ["train", "infer"])
def test_a_method_whose_training_batches_have_no_images_is_measured(verb, tmp_path, monkeypatch):
    (tmp_path / "clips_of_bench.py").write_text(CLIPS_ALONE)
    base = config_file("Baselines/sbs_duke_r50.yml")
    (tmp_path / "clips.yml").write_text(
        f"_BASE_: {base}\nMODEL:\n  META_ARCHITECTURE: ClipBaselineOfBench\n"
        'INPUT:\n  FIELDS: ("clip",)\n  CLIP: {FRAMES: 2, WITH_IMAGE: False}\n'
    )
    monkeypatch.chdir(tmp_path)
    for module in (train, infer):
        monkeypatch.setattr(module, "peak_memory", lambda prepare, setting, args: 1.0)
    words = ["--methods", "clips.yml", "--against", "sbs", "--import", "clips_of_bench", "--output", "."]
    try:
        assert main(["bench", verb, *_SMALL, *words]) == 0
    finally:
        META_ARCH_REGISTRY._obj_map.pop("ClipBaselineOfBench", None)
        sys.modules.pop("clips_of_bench", None)
    (run,) = json.loads((tmp_path / f"{verb}.json").read_text())["runs"]
    rows = {row["setting"]: row for row in run["rows"]}
    assert rows["clips.yml"]["multiply_adds"] == pytest.approx(rows["sbs"]["multiply_adds"], rel=0.1)
    assert rows["clips.yml"]["images_per_second"]["median"] > 0


def test_a_configs_memory_is_measured_in_a_process_that_imports_its_code(own_method):
    args = _arguments("--import", "own_of_bench")
    assert peak_memory(train.prepare, own_method, args) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "bts"], "bts is no setting: there are reference, ours"),
        (["--methods", "none.yml"], "none.yml does not exist"),
        (["--methods", "own.yml"], "MaskedBaselineOfBench.*is imported with --import MODULE"),
        (["--methods", "sbs", "--against", "mgn"], "--against mgn: it cannot be run with --backbone r18"),
        (["--methods", "sbs", "--import", "no_such"], "--import no_such: No module named"),
    ],
)
def test_a_method_that_cannot_be_run_is_one_line(own_method, words, message, capsys):
    assert main(["bench", "train", *_SMALL, *words, "--output", "."]) == 2
    assert re.search(message, capsys.readouterr().err)


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


def test_memory_is_freed_as_with_each_setting_from_an_untimed_step_on(monkeypatch):
    said = []
    monkeypatch.setattr(train, "keep_freed_memory", lambda keep: said.append("keeps" if keep else "returns"))
    names = ("sbs", "ours", "compiled", "returned")
    steps = {name: lambda name=name: said.append(name) for name in names}
    interleaved(steps, 1, "cpu", before=train._Allocator(steps, "cpu"))
    a_round = ["returns", "sbs", "sbs", "keeps", "ours", "ours", "compiled", "returns", "returned", "returned"]
    assert said == [*a_round, "sbs", *a_round[3:]]  # the second round begins as the first has ended
    said.clear()
    interleaved(steps, 0, "meta", before=train._Allocator(steps, "cuda"))
    assert said == list(names)


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


def _arguments(*words):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args([*_SMALL, *_NARROW, *words])


def _inference_multiply_adds(setting: str) -> int:
    return multiply_adds(train.trainer(_arguments(), setting).model, (64, 32))
