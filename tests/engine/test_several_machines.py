"""A run on two machines, which are network namespaces: it survives what happens to one of them, and names it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_runs import assert_same_weights, weights_of
from support.machines import OUTPUT, ROOT, torchrun, two_machines

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on one CPU")

CONFIG = """
MODEL:
  META_ARCHITECTURE: MDPR
  DEVICE: cpu
  BACKBONE: {NAME: build_osnet_backbone, DEPTH: x0_25, FEAT_DIM: 128, PRETRAIN: False}
  HEADS: {NAME: MDPRHead, POOL_LAYER: GeneralizedMeanPooling, NECK_FEAT: after, CLS_LAYER: CircleSoftmax}
  MDPR: {EMBEDDING_DIM: 16}
INPUT: {SIZE_TRAIN: [32, 16], SIZE_TEST: [32, 16], FLIP: {ENABLED: True}}
DATASETS: {NAMES: "('SynthReIDTiny',)", TESTS: "('SynthReIDTiny',)"}
DATALOADER: {NUM_WORKERS: 1}
SOLVER: {IMS_PER_BATCH: 64, MAX_EPOCH: 3, WARMUP_ITERS: 2, CHECKPOINT_PERIOD: 1}
TEST: {EVAL_PERIOD: 3, IMS_PER_BATCH: 128}
SEED: 11
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.yml"
    path.write_text(CONFIG)
    return path


def train(config_file, output, *options):
    return [ROOT / "train_net.py", "--config-file", config_file, *options, "OUTPUT_DIR", output]


def wait_until(holds, what, *started):
    end = time.monotonic() + 240
    while not holds():
        assert all(run.poll() is None for run in started), f"a launcher has ended before {what}"
        assert time.monotonic() < end, what
        time.sleep(0.2)


def training_processes(machine):
    """The processes on a machine that train, not the launcher."""
    listed = subprocess.run(["ip", "netns", "pids", machine.namespace], capture_output=True, text=True, check=True)
    lines = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in listed.stdout.split()}
    return [pid for pid, line in lines.items() if "train_net.py" in line and "torch.distributed.run" not in line]


def test_a_process_that_is_killed_on_one_machine_leaves_no_trace_in_the_weights(config_file, tmp_path):
    alone = [sys.executable, *map(str, train(config_file, tmp_path / "one", "--num-gpus", "2"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(alone, env=environment, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    words = torchrun(train(config_file, tmp_path / "two"), restarts=1)
    with two_machines() as machines:
        started = [machine.start(words, tmp_path / machine.name) for machine in machines]
        wait_until((tmp_path / "two/model_0000.pth").exists, "a checkpoint comes", *started)
        os.kill(min(training_processes(machines[1])), signal.SIGKILL)
        assert [run.wait(timeout=300) for run in started] == [0, 0]
    log = (tmp_path / "two/log.txt").read_text()
    assert log.count("Starting training from epoch 0") == 1 and log.count("Starting training from epoch") == 2
    assert_same_weights(weights_of(tmp_path / "one/model_final.pth"), weights_of(tmp_path / "two/model_final.pth"))


def test_a_machine_that_vanishes_without_a_word_is_named(config_file, tmp_path):
    words = torchrun(train(config_file, tmp_path / "out", "SOLVER.MAX_EPOCH", "500", "SOLVER.CHECKPOINT_PERIOD", "500"))
    with two_machines() as machines:
        started = [machine.start(words, tmp_path / machine.name, MDPR_PATIENCE="6") for machine in machines]
        wait_until((tmp_path / "out/metrics.json").exists, "the training begins", *started)
        machines[1].disconnect()
        assert started[0].wait(timeout=120)
        # Its own launcher would wait for minutes for the store on the other machine
        wait_until(lambda: not training_processes(machines[1]), "the process that is cut off ends")
    outputs = [(tmp_path / machine.name / OUTPUT).read_text() for machine in machines]
    assert "train_net.py: machine1 (process 1 of 2) has shown no sign of life for 6 s: start the run" in outputs[0]
    assert "train_net.py: machine0, the machine that all others report to, cannot be reached: start" in outputs[1]
