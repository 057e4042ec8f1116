"""Training through the plugin's trainer: evaluated by its own distance, resumed, in two processes, in comparisons."""

import json
import re
import subprocess
import sys

import pytest
import torch
from small_drop import CONFIG, PROJECT, SHARED, batch_of, small, train_and_keep

from mdpr_fastreid.cli import main
from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.engine.launch import launch
from mdpr_fastreid.modeling import build_model

ROOT = PROJECT.parents[1]


def test_it_trains_with_masks_and_reports_parsing_beside_ranking(tmp_path):
    trainer = Trainer(small(output=tmp_path))
    results = trainer.train()
    assert 0 < results["mAP"] <= 100
    assert {"mIoU", "pixel accuracy", "visibility F1"} <= results.keys()
    history = trainer.storage.histories().keys()
    assert {"loss_cls_whole", "loss_cls_foreground", "loss_cls_parts", "loss_pct", "loss_parsing"} <= history
    logged = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert any("mIoU" in line for line in logged)


def run(cfg, resume=False):
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit_with_its_memory(tmp_path):
    length = ("SOLVER.CHECKPOINT_PERIOD", 1, "TEST.EVAL_PERIOD", 0, "SEED", 3)
    whole = run(small(*length, "SOLVER.MAX_EPOCH", 2, output=tmp_path / "whole"))
    run(small(*length, "SOLVER.MAX_EPOCH", 2, output=tmp_path / "cut"))
    final = tmp_path / "cut/model_final.pth"
    final.unlink()
    (tmp_path / "cut/last_checkpoint").write_text("model_0000.pth")
    resumed = run(small(*length, "SOLVER.MAX_EPOCH", 2, output=tmp_path / "cut"), resume=True)
    expected, found = whole.model.state_dict(), resumed.model.state_dict()
    assert any(name.startswith("heads.memory") for name in found)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on one CPU")
def test_two_processes_hold_equal_memories_of_the_batches_of_both(tmp_path):
    launch(train_and_keep, 2, dist_url="auto", args=(str(tmp_path),))
    one, other = (torch.load(tmp_path / f"rank{rank}.pth", weights_only=True) for rank in (0, 1))
    memory = [name for name in one if name.startswith("heads.memory")]
    assert [name for name in memory if not torch.equal(one[name], other[name])] == []
    assert (one["heads.memory.targets"] >= 0).all()
    assert one["heads.memory.position"] == 16 * 16 % 40
    learnt = [name for name in one if "running" not in name and "num_batches" not in name]
    assert [name for name in learnt if not torch.equal(one[name], other[name])] == []


def test_a_few_images_are_learnt_by_heart():
    torch.manual_seed(0)
    model = build_model(small("MODEL.DROP.PCT.BANK_FROM_ITER", 0)).train()
    batch = batch_of(16, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    outputs = model.eval()(batch)
    metrics = model.metrics(outputs)
    assert metrics["mIoU"] > 60
    distances = model.distance(outputs, outputs)
    same = batch["targets"][:, None] == batch["targets"]
    assert distances[same].max() < distances[~same].min()


def test_it_is_a_row_of_a_comparison_with_its_masks(tmp_path, capsys):
    words = ["--methods", f"{CONFIG},{SHARED},sbs", "--data", "SynthReIDTiny", "--shared", "MDPR/synthreid_r18.yml"]
    assert main(["compare", *words, "--import", "drop", "--output", str(tmp_path), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "synthreid_r18" in printed and "shared_features_r18" in printed


def test_its_train_net_has_fastreids_command_line():
    words = ["--config-file", CONFIG, "MODEL.DROP.POOLING", "avg+min"]
    command = [sys.executable, PROJECT / "train_net.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert "did you mean avg+max?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("folder", ["mdpr_fastreid", "tests", "configs", "docs"])
def test_no_file_outside_the_project_knows_the_method(folder):
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in (".py", ".yml", ".md"):
            assert not re.search(r"\bDROP\b|\bPEMB\b", path.read_text(encoding="utf-8")), path
