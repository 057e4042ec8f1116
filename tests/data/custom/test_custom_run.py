"""A folder of a user's own images through ``train_net.py``, from the command line to the table."""

import importlib
import logging
from pathlib import Path

import pytest
from fastreid.utils.logger import setup_logger
from small_runs import logged_by_fastreid
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


@pytest.fixture
def train_net(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    logging.getLogger("fastreid").handlers.clear()
    setup_logger.cache_clear()
    return importlib.import_module("train_net")


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ("('shop',)", "shop has no query images, so it cannot stand in DATASETS.TESTS"),
        ("('shpo',)", "did you mean shop"),
    ],
)
def test_a_test_set_that_cannot_be_evaluated_is_told_before_training(train_net, tmp_path, capsys, tests, message):
    write_images(tmp_path / "own", [f"train/{name}/{number}.png" for name in "abc" for number in range(4)])
    (tmp_path / "shop.yml").write_text(CONFIG % (tmp_path / "own", tmp_path / "logs"))
    words = ["--config-file", str(tmp_path / "shop.yml"), "DATASETS.TESTS", tests]
    assert train_net.run(train_net.train_or_evaluate, train_net.default_argument_parser(), words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Starting training" not in captured.out


def test_a_folder_trains_and_is_evaluated_without_a_class(train_net, tmp_path):
    write_images(tmp_path / "own", [f"{name}/{number}.png" for name in "abcdef" for number in range(4)])
    (tmp_path / "shop.yml").write_text(CONFIG % (tmp_path / "own", tmp_path / "logs"))
    with logged_by_fastreid() as messages:
        words = ["--config-file", str(tmp_path / "shop.yml")]
        assert train_net.run(train_net.train_or_evaluate, train_net.default_argument_parser(), words) == 0
    assert (tmp_path / "logs/model_final.pth").is_file()
    assert any("| shop" in message and "mAP" in message for message in messages)
