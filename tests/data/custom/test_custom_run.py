"""A folder of a user's own images through ``train_net.py``, from the command line to the table."""

import subprocess
import sys
from pathlib import Path

from support.image_trees import write_images

ROOT = Path(__file__).parents[3]
CONFIG = """
MODEL:
  DEVICE: cpu
  BACKBONE: {NAME: build_osnet_backbone, DEPTH: x0_25, FEAT_DIM: 128}
  HEADS: {WITH_BNNECK: True}
INPUT: {SIZE_TRAIN: [32, 16], SIZE_TEST: [32, 16]}
DATASETS:
  CUSTOM: (("shop", "%s"),)
  NAMES: ("shop",)
  TESTS: ("shop",)
DATALOADER: {NUM_WORKERS: 0, NUM_INSTANCE: 2}
SOLVER: {IMS_PER_BATCH: 4, MAX_EPOCH: 1}
TEST: {EVAL_PERIOD: 1, IMS_PER_BATCH: 8}
OUTPUT_DIR: %s
"""


def test_a_folder_trains_and_is_evaluated_without_a_class(tmp_path):
    write_images(tmp_path / "own", [f"{name}/{number}.png" for name in "abcdef" for number in range(4)])
    (tmp_path / "shop.yml").write_text(CONFIG % (tmp_path / "own", tmp_path / "logs"))
    command = [sys.executable, str(ROOT / "train_net.py"), "--config-file", str(tmp_path / "shop.yml")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "shop has no split of its own: 3 of 6 identities" in run.stdout + run.stderr
    assert (tmp_path / "logs/model_final.pth").is_file() and "| shop" in run.stdout
