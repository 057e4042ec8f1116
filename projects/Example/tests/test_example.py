"""The example method: trained, evaluated by its own distance, compared; nothing of the plugin knows it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mdpr_fastreid.cli import main
from mdpr_fastreid.config import read_config
from mdpr_fastreid.engine import Trainer

PROJECT = Path(__file__).parents[1]
ROOT = PROJECT.parents[1]
CONFIG = PROJECT / "configs/synthreid_r18.yml"

sys.path.insert(0, str(PROJECT))

import example  # noqa: E402, F401  (registers the method)
from example.model import ForegroundLoss, ForegroundReID  # noqa: E402


def small(output, *overrides):
    data = ["DATASETS.NAMES", ("SynthReIDTiny",), "DATASETS.TESTS", ("SynthReIDTiny",), "DATALOADER.NUM_WORKERS", 0]
    size = ["INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], "SOLVER.IMS_PER_BATCH", 32]
    length = ["SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_ITERS", 2, "TEST.EVAL_PERIOD", 1, "OUTPUT_DIR", str(output)]
    return read_config(CONFIG, [*data, *size, *length, *overrides])


def test_it_trains_with_masks_and_is_evaluated_by_its_own_distance(tmp_path, monkeypatch):
    asked, own = [], ForegroundReID.distance
    monkeypatch.setattr(ForegroundReID, "distance", staticmethod(lambda q, g: asked.append(set(q)) or own(q, g)))
    trainer = Trainer(small(tmp_path, "SOLVER.ACCUMULATE", 2))
    before = trainer.model.foreground.weight.clone()
    results = trainer.train()
    assert 0 < results["mAP"] <= 100
    assert asked == [{"whole", "foreground", "area"}]
    assert not torch.equal(trainer.model.foreground.weight, before)
    assert {"loss_foreground", "loss_cls_whole", "loss_triplet_foreground"} <= trainer.storage.histories().keys()


def test_the_foreground_is_learnt_where_the_masks_are():
    masks = torch.zeros(1, 8, 4, dtype=torch.uint8)
    masks[:, 4:] = 3
    right = torch.tensor([[[-9.0], [9.0]]])
    loss = ForegroundLoss(scale=1.0)
    assert loss(right, masks) < 1e-3
    assert loss(-right, masks) > 8


def test_the_distance_is_the_formula():
    rng = torch.Generator().manual_seed(0)
    query, gallery = (
        {
            "whole": torch.randn(n, 4, generator=rng),
            "foreground": torch.randn(n, 4, generator=rng),
            "area": torch.rand(n, 1, generator=rng),
        }
        for n in (2, 3)
    )
    distances = ForegroundReID.distance(query, gallery)
    for i in range(2):
        for j in range(3):
            whole, foreground = (
                1 - torch.cosine_similarity(query[view][i], gallery[view][j], dim=0).item()
                for view in ("whole", "foreground")
            )
            visible = min(query["area"][i].item(), gallery["area"][j].item())
            expected = (1 - visible) * whole + visible * foreground
            assert distances[i, j].item() == pytest.approx(expected, abs=1e-6)


def test_it_is_a_row_of_a_comparison_with_its_masks(tmp_path, capsys):
    words = ["--methods", f"{CONFIG},mdpr", "--data", "SynthReIDTiny", "--shared", "MDPR/synthreid_r18.yml"]
    assert main(["compare", *words, "--import", "example", "--output", str(tmp_path), "--dry-run"]) == 0
    assert "synthreid_r18" in capsys.readouterr().out


def test_its_train_net_has_fastreids_command_line():
    words = ["--config-file", CONFIG, "MODEL.META_ARCHITECTURE", "Foreground"]
    command = [sys.executable, PROJECT / "train_net.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert "did you mean ForegroundReID?" in done.stderr


def test_no_file_of_the_plugin_knows_the_method():
    for path in (ROOT / "mdpr_fastreid").rglob("*.py"):
        assert not any(name in path.read_text() for name in ("ForegroundReID", "ForegroundLoss")), path
