"""A user's own script of four lines trains MDPR with the stock trainer."""

from pathlib import Path

import torch
from fastreid.config import get_cfg
from fastreid.engine import DefaultTrainer

from mdpr_fastreid import add_mdpr_config

CONFIG = Path(__file__).parents[2] / "configs/MDPR/synthreid_r18.yml"
TINY = ["DATASETS.NAMES", ("SynthReIDTiny",), "DATASETS.TESTS", ("SynthReIDTiny",), "DATALOADER.NUM_WORKERS", 0]
TINY += ["INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], "SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_ITERS", 0]
TINY += ["SOLVER.IMS_PER_BATCH", 32, "SOLVER.BASE_LR", 1e-5]


def test_four_lines_train_mdpr(tmp_path):
    cfg = get_cfg()
    add_mdpr_config(cfg)
    cfg.merge_from_file(str(CONFIG))
    cfg.merge_from_list([*TINY, "OUTPUT_DIR", str(tmp_path / "logs")])

    results = DefaultTrainer(cfg).train()

    assert {"Rank-1", "mAP", "mINP"} <= results.keys()
    checkpoint = torch.load(tmp_path / "logs/model_final.pth", weights_only=True)
    assert checkpoint["epoch"] == 0
    assert all(value.isfinite().all() for value in checkpoint["model"].values() if value.is_floating_point())
