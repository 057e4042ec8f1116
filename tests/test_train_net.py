"""``train_net.py`` as a user runs it: training, a kill, resuming, evaluation, torchrun, mistakes."""

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fastreid.utils.logger import setup_logger
from small_runs import assert_same_weights, logged_by_fastreid, weights_of

ROOT = Path(__file__).parents[1]
CONFIG = """
MODEL:
  DEVICE: cuda
  BACKBONE: {NAME: build_osnet_backbone, DEPTH: x0_25, FEAT_DIM: 128}
  HEADS: {WITH_BNNECK: True, NUM_CLASSES: 16}
INPUT: {SIZE_TRAIN: [32, 16], SIZE_TEST: [32, 16], FLIP: {ENABLED: True}}
DATASETS: {NAMES: "('SynthReIDTiny',)", TESTS: "('SynthReIDTiny',)"}
DATALOADER: {NUM_WORKERS: 1}
SOLVER: {IMS_PER_BATCH: 32, MAX_EPOCH: 3, WARMUP_ITERS: 2, CHECKPOINT_PERIOD: 1, AMP: {ENABLED: True}}
TEST: {EVAL_PERIOD: 3, IMS_PER_BATCH: 128}
SEED: 11
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.yml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def train_net():
    sys.path.insert(0, str(ROOT))
    import train_net as script

    yield script
    sys.path.remove(str(ROOT))


@pytest.fixture(autouse=True)
def _fresh_logger():
    """A handler set up by an earlier test writes to that test's captured output."""
    logging.getLogger("fastreid").handlers.clear()
    setup_logger.cache_clear()


def run_here(train_net, *words):
    words = [str(word) for word in words]
    return train_net.run(train_net.train_or_evaluate, train_net.default_argument_parser(), words)


def command(*words, launcher=()):
    return [sys.executable, *launcher, str(ROOT / "train_net.py"), *map(str, words)]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": ""}


@pytest.fixture(scope="module")
def whole_run(train_net, config_file, tmp_path_factory):
    """An uninterrupted run, in this process."""
    folder = tmp_path_factory.mktemp("whole")
    with logged_by_fastreid() as messages:
        assert run_here(train_net, "--config-file", config_file, "OUTPUT_DIR", folder) == 0
    return folder, messages


def last_table(messages):
    return [message for message in messages if "csv format" in message and "mAP" in message][-1]


def test_a_run_ends_with_the_table(whole_run):
    folder, messages = whole_run
    assert "SynthReIDTiny" in last_table(messages[-2:])
    assert {"model_final.pth", "model_best.pth", "log.txt", "config.yaml", "metrics.json"} <= set(os.listdir(folder))


def test_eval_only_repeats_the_results_of_the_run(train_net, config_file, whole_run, tmp_path):
    folder, messages = whole_run
    words = ["--config-file", config_file, "--eval-only", "MODEL.WEIGHTS", folder / "model_final.pth"]
    with logged_by_fastreid() as again:
        assert run_here(train_net, *words, "OUTPUT_DIR", tmp_path) == 0
    assert last_table(again) == last_table(messages)
    assert not list(tmp_path.glob("*.pth"))


def test_a_run_killed_at_any_moment_and_resumed_ends_with_the_same_weights(config_file, whole_run, tmp_path):
    words = ["--config-file", config_file, "OUTPUT_DIR", tmp_path]
    with (tmp_path / "output.txt").open("w") as output:
        running = subprocess.Popen(command(*words), cwd=tmp_path, env=environment(), stdout=output, stderr=output)
        deadline = time.monotonic() + 240
        while not (tmp_path / "last_checkpoint").exists() and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.5))
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert (tmp_path / "last_checkpoint").exists(), (tmp_path / "output.txt").read_text()[-3000:]
    resumed = subprocess.run(
        command(*words[:2], "--resume", *words[2:]),
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    assert "Loading checkpoint" in resumed.stdout
    assert_same_weights(weights_of(whole_run[0] / "model_final.pth"), weights_of(tmp_path / "model_final.pth"))
    assert not list(tmp_path.glob("*.tmp"))


def test_under_torchrun_the_processes_join_one_run(config_file, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["--config-file", config_file, "--num-gpus", 7, "OUTPUT_DIR", tmp_path, "SOLVER.MAX_EPOCH", 1]
    done = subprocess.run(
        command(*words, launcher=launcher),
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "World size: 2" in (tmp_path / "log.txt").read_text()
    assert "Rank of current process: 1" in (tmp_path / "log.txt.rank1").read_text()
    assert (tmp_path / "model_final.pth").exists()


MISTAKES = {
    "an unknown key": (["SOLVER.MAX_EPOCHS", 1], "no key SOLVER.MAX_EPOCHS; did you mean SOLVER.MAX_EPOCH?"),
    "no weights to evaluate": (["--eval-only"], "MODEL.WEIGHTS"),
    "weights that are not there": (["--eval-only", "MODEL.WEIGHTS", "none.pth"], "none.pth: no such weight file"),
    "an unknown data set": (["DATASETS.NAMES", "('SynthReIDTini',)"], "did you mean SynthReIDTiny?"),
    "data that is not there": (["DATASETS.NAMES", "('DukeMTMC',)"], "FASTREID_DATASETS"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_and_exit_code_2_for(train_net, config_file, capsys, tmp_path, mistake):
    words, message = MISTAKES[mistake]
    flags = [word for word in words if str(word).startswith("--")]
    overrides = [*words[len(flags) :], "OUTPUT_DIR", tmp_path]
    assert run_here(train_net, "--config-file", config_file, *flags, *overrides) == 2
    told = capsys.readouterr().err
    assert message in told.strip().splitlines()[-1]
    assert "Traceback" not in told


def test_a_config_of_ours_is_found_by_its_name_from_any_folder(train_net, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "none.pth", "OUTPUT_DIR", tmp_path / "logs"]
    assert run_here(train_net, "--config-file", "MDPR/synthreid_r18.yml", "--eval-only", *overrides) == 2
    assert "none.pth: no such weight file" in capsys.readouterr().err.splitlines()[-1]
