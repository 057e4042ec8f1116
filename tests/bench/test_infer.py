"""`mdpr bench infer` measures what it says, and writes it."""

import json

import pytest
import torch
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline

from mdpr_fastreid.bench import infer
from mdpr_fastreid.bench.components import BETWEEN, component_of, measure_components
from mdpr_fastreid.bench.cost import counted
from mdpr_fastreid.bench.reference import PublishedOrder
from mdpr_fastreid.cli import main
from mdpr_fastreid.config import config_file
from tests.support.settings import small_model

_SMALL = ["--backbone", "r18", "--size", "64x32", "--batch", "4", "--repeats", "2"]
_NARROW = ["--opts", "MODEL.MDPR.EMBEDDING_DIM", "16"]


def test_the_command_writes_every_setting(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(infer, "peak_memory", lambda prepare, setting, args: 1.5)
    words = ["--methods", "folded-float32", "sbs", "mgn", "--output", str(tmp_path)]
    assert main(["bench", "infer", *_SMALL, *words, *_NARROW]) == 0
    (run,) = json.loads((tmp_path / "infer.json").read_text())["runs"]
    rows = {row["setting"]: row for row in run["rows"]}
    assert rows.keys() == {"reference", "folded-float32", "sbs"}, "ResNet-18 has no bottlenecks for MGN"
    assert rows["reference"]["ratio"] == {"min": 1, "median": 1, "max": 1}
    folded = rows["folded-float32"]
    assert folded["smallest_cosine"] > 0.9999
    assert folded["multiply_adds"] < rows["reference"]["multiply_adds"]
    assert len(folded["seconds"]) == 2
    assert folded["images_per_second"]["max"] == pytest.approx(4 / min(folded["seconds"]))
    table = capsys.readouterr().out
    assert table.strip() in (tmp_path / "infer.md").read_text()
    assert "64x32, batch 4" in table


def test_a_configs_model_is_measured_as_it_is_and_folded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(infer, "peak_memory", lambda prepare, setting, args: 1.0)
    base = config_file("Baselines/sbs_duke_r50.yml")
    (tmp_path / "own.yml").write_text(f"_BASE_: {base}\nINPUT:\n  FIELDS: ('mask',)\n")
    words = ["--methods", "sbs", str(tmp_path / "own.yml"), "--against", "sbs", "--output", str(tmp_path)]
    assert main(["bench", "infer", *_SMALL, *words]) == 0
    (run,) = json.loads((tmp_path / "infer.json").read_text())["runs"]
    rows = {row["setting"]: row for row in run["rows"]}
    assert list(rows) == ["sbs", "own.yml", "folded own.yml"]
    assert rows["own.yml"]["multiply_adds"] == rows["sbs"]["multiply_adds"] > rows["folded own.yml"]["multiply_adds"]
    assert min(row["smallest_cosine"] for row in rows.values()) > 0.9999, "all have the same fresh weights"
    assert "reference sbs, on" in capsys.readouterr().out


def test_a_backbone_of_timms_is_that_of_all_methods(tmp_path, monkeypatch):
    monkeypatch.setattr(infer, "peak_memory", lambda prepare, setting, args: 1.0)
    (tmp_path / "own.yml").write_text(f"_BASE_: {config_file('Baselines/bot_duke_r50.yml')}\n")
    words = ["--methods", "ours", "sbs", "mgn", str(tmp_path / "own.yml"), "--output", str(tmp_path)]
    words += ["--backbone", "convnext_atto", "--size", "64x32", "--batch", "2", "--repeats", "1", "--against", "sbs"]
    assert main(["bench", "infer", *words, *_NARROW]) == 0
    (run,) = json.loads((tmp_path / "infer.json").read_text())["runs"]
    rows = {row["setting"]: row for row in run["rows"]}
    assert run["about"]["network"] == "convnext_atto, 64x32, batch 2"
    assert list(rows) == ["ours", "sbs", "own.yml", "folded own.yml"], "MGN is made of FastReID's ResNet"
    # timm has 3.7 million weights, of which 1,000 times 320 classify
    assert rows["sbs"]["parameters"] - 702 * 320 == pytest.approx(3.4e6, rel=0.02)
    assert rows["own.yml"]["parameters"] == rows["sbs"]["parameters"] < 0.6 * rows["ours"]["parameters"]


def test_several_outputs_are_measured_without_a_cosine(tmp_path, monkeypatch):
    class Two(Baseline):
        def forward(self, batch):
            features = super().forward(batch)
            return features if self.training else {"whole": features, "seen": features > 0}

    monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, "TwoOutputsOfBench", Two)
    monkeypatch.setattr(infer, "peak_memory", lambda prepare, setting, args: 1.0)
    base = config_file("Baselines/sbs_duke_r50.yml")
    (tmp_path / "two.yml").write_text(f"_BASE_: {base}\nMODEL:\n  META_ARCHITECTURE: TwoOutputsOfBench\n")
    words = ["--methods", "sbs", str(tmp_path / "two.yml"), "--against", "sbs", "--output", str(tmp_path)]
    assert main(["bench", "infer", *_SMALL, *words]) == 0
    (run,) = json.loads((tmp_path / "infer.json").read_text())["runs"]
    assert [(row["setting"], "smallest_cosine" in row) for row in run["rows"]] == [
        ("sbs", True), ("two.yml", False), ("folded two.yml", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "msb"], "msb is no setting: there are reference, ours"),
        (["--batch", "0"], "--batch"),
        (["--backbone", "r19"], "--backbone r19 is none of r18, r34, r50, r101, so it is timm's: "),
        (["--backbone", "convnext_ato"], "no model of timm"),
        (["--device", "cuda:77"], "--device cuda:77"),
        (["--device", "tpu?"], "--device"),
    ],
)
def test_what_cannot_be_run_is_one_line(words, message, capsys):
    assert main(["bench", "infer", *words]) != 0
    assert message in capsys.readouterr().err


def test_settled_batch_norms_are_those_of_the_images():
    model = small_model()
    images = torch.rand(6, 3, 96, 48) * 255
    infer.settle_batch_norms(model, images)
    norm = model.backbone.trunk.bn1
    seen = []
    with torch.no_grad():
        norm.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
        model(images)
    assert not norm.training
    assert norm.momentum == 0.1
    torch.testing.assert_close(seen[0].mean((0, 2, 3)), norm.bias.detach(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("backbone.trunk.layer1.0.conv1", "trunk"),
        ("network.backbone.soft.stage3", "soft branch, stage 3"),
        ("model.heads.fusion.hard.0", "fusion"),
        ("hard.global_embedding", "embeddings"),
        ("backbone.hard", None),
        ("heads.identity_losses.cls", "losses"),
    ],
)
def test_a_module_is_of_its_component(name, component):
    assert component_of(name) == component


def test_components_add_up_to_the_whole():
    model = PublishedOrder(small_model()).eval()
    images = torch.rand(2, 3, 96, 48)
    with torch.no_grad():
        whole = counted(lambda: model(images))
        costs = infer.component_multiply_adds(model, lambda: model(images))
    assert sum(costs.values()) == whole
    assert costs[BETWEEN] == 0
    positions, dim = 6 * 3, 16
    fusion = positions * 10 * dim**2 * (1 + 4 + 4 + 16)
    assert costs["fusion"] == 2 * fusion


def test_a_module_within_its_component_is_counted_once():
    model = small_model().eval()
    calls = iter(range(10_000))
    with torch.no_grad():
        spent = measure_components(model, lambda: model(torch.rand(1, 3, 96, 48)), lambda: next(calls))
    assert spent["trunk"] == 1
