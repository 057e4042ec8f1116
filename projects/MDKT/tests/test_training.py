"""Training through the plugin's trainer: results, resume bit for bit in every mode, two processes, comparisons."""

import json
import re

import pytest
import torch
from small_mdkt import PROJECT, batch_of, model_of
from training_runs import SET, TEACHER, TRANSFER, run, tiny, train_and_keep

from mdpr_fastreid.cli import main
from mdpr_fastreid.engine.launch import launch
from mdpr_fastreid.evaluation.inference import FlipAverage
from mdpr_fastreid.modeling import build_model

ROOT = PROJECT.parents[1]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The checkpoint of a short stage 1."""
    folder = tmp_path_factory.mktemp("teacher")
    run(tiny(TEACHER, folder, "SOLVER.MAX_EPOCH", 1))
    return folder / "model_final.pth"


def test_stage_1_reports_images_and_clips_as_queries_in_one_pass(tmp_path):
    trainer = run(tiny(TEACHER, tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 1))
    results = trainer._last_eval_results
    for pairing in ("I2V", "V2V"):
        assert 0 < results[f"{pairing}/mAP trapezoid"] <= results[f"{pairing}/mAP"] <= 100
    expected = (results["I2V/mAP"] + results["I2V/Rank-1"]) / 2
    assert results["metric"] == pytest.approx(expected)


def test_mirrored_frames_are_seen_too_if_it_is_asked_for():
    model, batch = model_of("VideoReID").eval(), batch_of()
    mirrored = {key: value.flip(-1) if key in ("images", "clips") else value for key, value in batch.items()}
    with torch.no_grad():
        found, one, other = FlipAverage(model)(batch), model(batch), model(mirrored)
    for name in one:
        torch.testing.assert_close(found[name], (one[name] + other[name]) / 2)


@pytest.mark.parametrize("mode", ["frozen", "independent", "mutual"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(mode, teacher, tmp_path):
    own = tmp_path / "teacher.pth"
    own.write_bytes(teacher.read_bytes())
    words = ("MODEL.MDKT.MODE", mode, "MODEL.MDKT.TEACHER_WEIGHTS", str(own), "SEED", 3, "DATALOADER.NUM_WORKERS", 2)
    run(tiny(TRANSFER, tmp_path / "whole", *words))
    cut = tmp_path / "cut"
    run(tiny(TRANSFER, cut, *words))
    (cut / "model_final.pth").unlink()
    (cut / "last_checkpoint").write_text("model_0000.pth")
    own.unlink()  # a resumed run neither needs the file nor resets
    run(tiny(TRANSFER, cut, *words), resume=True)
    whole, resumed = (
        torch.load(tmp_path / folder / "model_final.pth", weights_only=True) for folder in ("whole", "cut")
    )
    tensors = flattened({key: whole[key] for key in ("model", "optimizer")})
    others = flattened({key: resumed[key] for key in ("model", "optimizer")})
    assert any("teacher." in name for name in tensors) and any("exp_avg" in name for name in tensors)
    assert tensors.keys() == others.keys()
    assert [name for name in tensors if not torch.equal(tensors[name], others[name])] == []


def flattened(state, prefix=""):
    if isinstance(state, torch.Tensor):
        return {prefix: state}
    pairs = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return {name: value for key, part in pairs for name, value in flattened(part, f"{prefix}/{key}").items()}


@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on one CPU")
@pytest.mark.parametrize("mode", ["frozen", "mutual"])
def test_two_processes_learn_the_same(mode, teacher, tmp_path):
    (tmp_path / "teacher.pth").write_bytes(teacher.read_bytes())
    launch(train_and_keep, 2, dist_url="auto", args=(str(tmp_path), mode))
    one, other = (torch.load(tmp_path / f"rank{rank}.pth", weights_only=True) for rank in (0, 1))
    learnt = [name for name in one if "running" not in name and "num_batches" not in name]
    assert [name for name in learnt if not torch.equal(one[name], other[name])] == []
    before = torch.load(teacher, weights_only=True)["model"]
    stayed = all(torch.equal(one[f"teacher.{name}"], value) for name, value in before.items())
    assert stayed == (mode == "frozen")


def test_precise_bn_leaves_a_frozen_teacher_alone_and_sharpens_the_student(teacher, tmp_path):
    words = ("MODEL.MDKT.MODE", "frozen", "MODEL.MDKT.TEACHER_WEIGHTS", str(teacher), "SOLVER.MAX_EPOCH", 1)
    precise = ("TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.DATASET", SET, "TEST.PRECISE_BN.NUM_ITER", 2)
    trained = run(tiny(TRANSFER, tmp_path, *words, *precise, "TEST.EVAL_PERIOD", 1)).model.state_dict()
    before = torch.load(teacher, weights_only=True)["model"]
    assert all(torch.equal(trained[f"teacher.{name}"], value) for name, value in before.items())
    assert trained["student.backbone.1.running_mean"].isfinite().all()


def test_a_few_clips_are_learnt_by_heart():
    torch.manual_seed(0)
    model, batch = build_model(tiny(TRANSFER, "logs/test", "MODEL.HEADS.NUM_CLASSES", 3)).train(), batch_of()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(60):
        losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    outputs = model.eval()(batch)
    similar = torch.nn.functional.normalize(outputs["clip"]) @ torch.nn.functional.normalize(outputs["clip"]).T
    same = batch["targets"][:, None] == batch["targets"]
    assert similar[same].min() > similar[~same].max()


def test_both_stages_are_rows_of_a_comparison(tmp_path, capsys):
    words = ["--methods", f"{TRANSFER},{TEACHER}", "--data", SET, "--shared", str(TRANSFER), "--seeds", "0"]
    assert main(["compare", *words, "--import", "mdkt", "--output", str(tmp_path), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "synthreid_clips_r18" in printed and "synthreid_clips_teacher_r18" in printed


def test_metrics_are_in_the_log_of_a_run(teacher, tmp_path):
    words = ("MODEL.MDKT.TEACHER_WEIGHTS", str(teacher), "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 1)
    run(tiny(TRANSFER, tmp_path, *words))
    logged = {}
    for line in (tmp_path / "metrics.json").read_text().splitlines():
        logged |= json.loads(line)
    of_steps = {"loss_mtcl", "raw_pd", "p_teacher_saturated", "gradient_mkd"}
    assert of_steps | {"I2V/mAP", "V2V/mAP trapezoid"} <= logged.keys()


@pytest.mark.parametrize("folder", ["mdpr_fastreid", "tests", "configs", "docs"])
def test_no_file_outside_the_project_knows_the_method(folder):
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in (".py", ".yml", ".md"):
            known = re.search(r"\b(MDKT|VKD|MKD|TCL|mkd|tcl|mdkt)\b", path.read_text(encoding="utf-8"))
            assert not known, (path, known)
