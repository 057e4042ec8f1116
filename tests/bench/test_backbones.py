"""`mdpr bench backbones` checks what it says, and a backbone that is refused has a row that says why."""

import json
from pathlib import Path

import pytest
import timm
import torch
from fastreid.modeling import build_model

from mdpr_fastreid.bench import backbones
from mdpr_fastreid.bench.backbones import DOCUMENTED, backbone_config, cut_difference, measured, training_loss
from mdpr_fastreid.bench.cost import multiply_adds, parameters
from mdpr_fastreid.cli import main
from mdpr_fastreid.errors import UsageError

SIZE = (64, 32)


def test_the_command_writes_a_row_for_each_method_and_says_what_is_refused(tmp_path, capsys):
    words = ["mobilenetv4_conv_small_035", "levit_128s", "--size", "64x32", "--formats", "torchscript"]
    assert main(["bench", "backbones", *words, "--output", str(tmp_path)]) == 0
    (run,) = json.loads((tmp_path / "backbones.json").read_text())["runs"]
    rows = {(row["name"], row["method"]): row for row in run["rows"]}
    assert len(rows) == 4
    for method in ("MDPR", "Baseline"):
        row = rows["mobilenetv4_conv_small_035", method]
        model = build_model(backbone_config(method, "mobilenetv4_conv_small_035", SIZE))
        assert row["parameters"] == parameters(model)
        assert row["multiply_adds"] == multiply_adds(model, SIZE)
        assert row["folded"] < 1e-9 and row["exported"] < 1e-3 and row["loss"] > 0
    assert rows["mobilenetv4_conv_small_035", "MDPR"]["cut"] < 1e-12
    assert "gives no map of an image" in rows["levit_128s", "MDPR"]["refused"]
    table = capsys.readouterr().out
    assert "refused: MODEL.BACKBONE.TIMM.MODEL levit_128s" in table
    assert "images 64x32, exported as torchscript" in table


def test_a_format_that_is_none_is_one_line_before_anything_is_built(capsys, tmp_path):
    words = ["resnet10t", "--formats", "tflite", "--output", str(tmp_path)]
    assert main(["bench", "backbones", *words]) != 0
    assert "unknown format 'tflite'" in capsys.readouterr().err
    assert not (tmp_path / "backbones.json").exists()


def test_a_cut_in_another_place_is_found(monkeypatch):
    cfg = backbone_config("MDPR", "resnet10t", SIZE)
    images = torch.rand(2, 3, *SIZE, dtype=torch.float64) * 255
    assert cut_difference(cfg, images) < 1e-12
    whole = backbones.split_stages

    def wrong(backbone):
        pieces = whole(backbone)
        return pieces._replace(view4=torch.nn.Tanh())

    monkeypatch.setattr(backbones, "split_stages", wrong)
    assert cut_difference(cfg, images) > 1e-2


def test_a_fold_that_is_wrong_is_found(monkeypatch):
    cfg = backbone_config("Baseline", "resnet10t", SIZE)
    folded = backbones.fold

    def wrong(model, *args, **kwargs):
        network = folded(model, *args, **kwargs)
        network.network.heads.bottleneck[0].shift.data += 1
        return network

    monkeypatch.setattr(backbones, "fold", wrong)
    assert measured(cfg, [])["folded"] > 1e-3


def test_a_weight_without_a_gradient_is_found():
    model = build_model(backbone_config("Baseline", "resnet10t", SIZE))
    images = torch.rand(4, 3, *SIZE) * 255
    assert training_loss(model, images) > 0
    model.unused = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(UsageError, match="no gradient for unused"):
        training_loss(model, images)


def test_patches_of_14_get_images_that_they_fill():
    assert backbone_config("MDPR", "vit_small_patch14_reg4_dinov2", (256, 128)).INPUT.SIZE_TEST == [252, 126]
    assert backbone_config("MDPR", "resnet10t", (256, 128)).INPUT.SIZE_TEST == [256, 128]


def test_every_documented_model_is_one_of_timms_and_on_the_page():
    page = Path("docs/reference/backbones.md").read_text()
    assert [name for name in DOCUMENTED if not timm.is_model(name)] == []
    assert [name for name in DOCUMENTED if f"`{name}`" not in page] == []


def test_a_model_that_fails_does_not_lose_the_others(tmp_path, monkeypatch, capsys):
    def failing(cfg, formats, seed):
        if cfg.MODEL.META_ARCHITECTURE == "MDPR":
            raise RuntimeError("shapes differ\nin detail")
        return {"size": "64x32", "loss": 1.0}

    monkeypatch.setattr(backbones, "measured", failing)
    assert main(["bench", "backbones", "resnet10t", "--size", "64x32", "--formats", "--output", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert "refused: RuntimeError: shapes differ |" in output.out
    assert "| `resnet10t` | Baseline | 64x32 |" in output.out
    assert "in detail" in output.err
