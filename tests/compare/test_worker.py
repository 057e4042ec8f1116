"""One run, as its process does it: trained, killed, resumed, measured."""

import dataclasses
import json
import os
import signal
import subprocess
import time
from unittest import mock

import numpy as np
import pytest
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline
from support.comparisons import OVERRIDES, REQUEST

from mdpr_fastreid.compare import evaluate, launch, records, worker
from mdpr_fastreid.compare.curves import read_curves
from mdpr_fastreid.compare.launchers.local import worker_command
from mdpr_fastreid.compare.plan import make_plan
from mdpr_fastreid.engine import Trainer

SMALL = """
MODEL:
  BACKBONE: {NAME: build_osnet_backbone, DEPTH: x0_25}
  HEADS: {WITH_BNNECK: True}
TEST: {IMS_PER_BATCH: 128}
"""


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    """A method of seconds, from a config file of the user's, at 32x16."""
    path = tmp_path_factory.mktemp("config") / "small.yml"
    path.write_text(SMALL)
    overrides = (*OVERRIDES, "MODEL.DEVICE", "cpu", "TEST.IMS_PER_BATCH", "64", "TEST.EVAL_PERIOD", "2")
    return dataclasses.replace(
        REQUEST, methods=(str(path),), backbone=None, size=(32, 16), epochs=2, seeds=(5,), overrides=overrides
    )


@pytest.fixture(scope="module")
def whole_run(request_, tmp_path_factory):
    """An uninterrupted run, in this process."""
    plan = make_plan(dataclasses.replace(request_, output=tmp_path_factory.mktemp("whole")))
    launch.prepare(plan)
    folder = plan.folder(plan.runs[0])
    with mock.patch.object(evaluate, "SECONDS_TO_MEASURE", 0.1):
        assert worker.main(folder) == 0
    return plan, folder


def test_a_finished_run_leaves_its_result_and_one_checkpoint(whole_run):
    plan, folder = whole_run
    result = json.loads((folder / records.RESULT).read_text())
    assert all(0 < value <= 100 for value in result["metrics"].values())
    assert result["metrics"] != result["reranked"]
    assert result["config_hash"] == records.config_digest(records.conditions(plan.runs[0].cfg, plan.data.digest))
    assert result["feature_length"] == 128
    assert result["training_images_per_second"] > 0 and result["inference_images_per_second"] > 0
    assert result["cmc"][0] == result["metrics"]["Rank-1"]
    assert [path.name for path in folder.glob("*.pth")] == ["model_final.pth"]


def test_its_metrics_are_those_the_toolbox_reports(whole_run):
    plan, folder = whole_run
    cfg = plan.runs[0].cfg.clone()
    cfg.MODEL.WEIGHTS = str(folder / "model_final.pth")
    cfg.OUTPUT_DIR = str(folder)
    model = worker._evaluated(cfg)
    result = json.loads((folder / records.RESULT).read_text())
    for reranked, name in ((False, "metrics"), (True, "reranked")):
        cfg.TEST.RERANK.ENABLED = reranked
        toolbox = Trainer.test(cfg, model)
        assert result[name] == pytest.approx({key: float(toolbox[key]) for key in result[name]}, abs=1e-4)


def test_its_curves_end_with_what_was_evaluated(whole_run):
    _, folder = whole_run
    curves = read_curves(folder)
    assert [iteration for iteration, _ in curves["total_loss"]] == list(range(8))
    assert curves["lr"][0][1] < curves["lr"][1][1]
    ((iteration, value),) = curves["mAP"]
    result = json.loads((folder / records.RESULT).read_text())
    assert (iteration, value) == (7, pytest.approx(result["metrics"]["mAP"]))
    # Whatever else the evaluation reports is there, too
    ((iteration, value),) = read_curves(folder, ("mINP",))["mINP"]
    assert (iteration, value) == (7, pytest.approx(result["metrics"]["mINP"]))


def test_a_run_that_is_killed_goes_on_and_ends_as_one_that_was_not(request_, whole_run, tmp_path):
    plan = make_plan(dataclasses.replace(request_, output=tmp_path))
    left, _ = launch.prepare(plan)
    (run,) = left
    folder = plan.folder(run)
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(worker_command(folder), stdout=output, stderr=output, start_new_session=True)
        deadline = time.monotonic() + 120
        while not (folder / "last_checkpoint").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (folder / "last_checkpoint").exists(), (tmp_path / "output").read_text()[-2000:]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (folder / records.RESULT).exists()
    left, notices = launch.prepare(plan)
    assert (left, notices) == ([run], [])
    with mock.patch.object(evaluate, "SECONDS_TO_MEASURE", 0.1):
        assert worker.main(folder) == 0
    assert "Starting training from epoch" in (folder / "log.txt").read_text().rpartition("Loading checkpoint")[2]
    expected = json.loads((whole_run[1] / records.RESULT).read_text())["metrics"]
    assert json.loads((folder / records.RESULT).read_text())["metrics"] == pytest.approx(expected)


def test_a_run_that_was_killed_while_it_was_measured_is_not_trained_again(whole_run):
    _, folder = whole_run
    before = json.loads((folder / records.RESULT).read_text())
    (folder / records.RESULT).unlink()
    curve = (folder / "metrics.json").read_text()
    with mock.patch.object(evaluate, "SECONDS_TO_MEASURE", 0.1):
        assert worker.main(folder) == 0
    assert json.loads((folder / records.RESULT).read_text())["metrics"] == pytest.approx(before["metrics"])
    assert (folder / "metrics.json").read_text() == curve


def test_a_damaged_checkpoint_says_how_to_go_on(whole_run, tmp_path):
    plan, folder = whole_run
    plan = dataclasses.replace(plan, output=tmp_path)
    launch.prepare(plan)
    damaged = plan.folder(plan.runs[0])
    (damaged / records.CHECKPOINT).write_text("model_final.pth")
    (damaged / "model_final.pth").write_bytes((folder / "model_final.pth").read_bytes()[:10_000])
    assert worker.main(damaged) == 1
    error = json.loads((damaged / records.FAILURE).read_text())["error"]
    assert error.startswith(str(damaged / "model_final.pth"))
    assert error.endswith(f"; delete {damaged}, and the same command trains this run anew")


def test_a_run_without_training_evaluates_the_weights_it_is_given(whole_run, tmp_path):
    plan, folder = whole_run
    cfg = plan.runs[0].cfg.clone()
    cfg.MODEL.WEIGHTS = str(folder / "model_final.pth")
    run = dataclasses.replace(plan.runs[0], cfg=cfg, source="another")
    plan = dataclasses.replace(plan, runs=(run,), output=tmp_path)
    launch.prepare(plan)
    with mock.patch.object(evaluate, "SECONDS_TO_MEASURE", 0.1):
        assert worker.main(plan.folder(run)) == 0
    first, again = (json.loads((where / records.RESULT).read_text()) for where in (folder, plan.folder(run)))
    assert again["metrics"] == pytest.approx(first["metrics"])
    assert again["training_images_per_second"] is None


@META_ARCH_REGISTRY.register()
class PairedForWorker(Baseline):
    """Prepares its training, and gives two outputs that are ranked by two pairings."""

    pairings = {"I2V": ("image", "clip"), "V2V": ("clip", "clip")}  # noqa: RUF012
    prepared = 0

    def prepare_training(self, cfg, training_set):
        PairedForWorker.prepared += 1

    def forward(self, batch):
        features = super().forward(batch)
        return features if self.training else {"image": features.sign(), "clip": features}


def test_a_run_of_a_model_with_pairings_keeps_all_of_them_and_is_prepared_once(request_, tmp_path):
    path = tmp_path / "paired.yml"
    path.write_text(SMALL.replace("MODEL:", "MODEL:\n  META_ARCHITECTURE: PairedForWorker"))
    plan = make_plan(dataclasses.replace(request_, methods=(str(path),), epochs=1, output=tmp_path / "run"))
    launch.prepare(plan)
    folder = plan.folder(plan.runs[0])
    with mock.patch.object(evaluate, "SECONDS_TO_MEASURE", 0.1):
        for _ in range(2):  # what was trained is measured again, and not prepared again
            assert worker.main(folder) == 0, (folder / "failure.json").read_text()
            result = json.loads((folder / records.RESULT).read_text())
            (folder / records.RESULT).unlink()
    assert PairedForWorker.prepared == 1
    assert list(result["pairings"]) == ["I2V", "V2V"] and result["pairings"]["I2V"] == result["metrics"]
    assert result["pairings"]["V2V"] != result["metrics"]
    with np.load(folder / records.RANKING) as arrays:
        precisions = dict(zip(arrays["pairings"].tolist(), arrays["pairing_precision"], strict=True))
        np.testing.assert_array_equal(precisions["I2V"], arrays["average_precision"])
    for name, precision in precisions.items():
        assert 100 * precision.mean() == pytest.approx(result["pairings"][name]["mAP"])


def test_a_run_that_cannot_be_says_why(request_, tmp_path):
    plan = make_plan(dataclasses.replace(request_, output=tmp_path))
    plan.runs[0].cfg.MODEL.WEIGHTS = str(tmp_path / "none.pth")
    launch.prepare(plan)
    folder = plan.folder(plan.runs[0])
    assert worker.main(folder) == 1
    assert "none.pth: no such weight file" in json.loads((folder / records.FAILURE).read_text())["error"]
