"""Trainings on SynthReID's clips_tiny that take seconds."""

from pathlib import Path

import mdkt  # noqa: F401  (registers the method, in a process of its own too)
import small_runs  # noqa: F401  (registers the small backbone)
import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from small_mdkt import CONFIGS

from mdpr_fastreid.config import read_config
from mdpr_fastreid.engine import Trainer

SET = "SynthReIDClipsTiny"
TRANSFER, TEACHER = CONFIGS / "synthreid_clips_r18.yml", CONFIGS / "synthreid_clips_teacher_r18.yml"


def tiny(file: Path = TRANSFER, output: Path | str = "logs/test", *overrides) -> CfgNode:
    """Two epochs of three batches at 32x16, by a network of two convolutions."""
    model = ["MODEL.BACKBONE.NAME", "build_small_backbone", "MODEL.BACKBONE.DROP_RATIO", 0.1]
    model += ["MODEL.MDKT.LAST_BLOCK_RELU", True, "MODEL.MDKT.RESET", ("head",), "MODEL.MDKT.TEACHER_CONFIG", ""]
    data = ["DATASETS.NAMES", (SET,), "DATASETS.TESTS", (SET,), "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"]
    size = ["INPUT.SIZE_TRAIN", [32, 16], "INPUT.SIZE_TEST", [32, 16], "SOLVER.IMS_PER_BATCH", 12]
    length = ["SOLVER.MAX_EPOCH", 2, "SOLVER.WARMUP_ITERS", 2, "SOLVER.CHECKPOINT_PERIOD", 1, "TEST.EVAL_PERIOD", 0]
    return read_config(file, [*data, *model, *size, *length, "OUTPUT_DIR", str(output), *overrides])


def run(cfg: CfgNode, resume: bool = False) -> Trainer:
    """A trainer after its run."""
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def train_and_keep(folder: str, mode: str) -> None:
    """One epoch in this process, and its weights in a file of its own."""
    words = ("MODEL.MDKT.TEACHER_WEIGHTS", f"{folder}/teacher.pth", "MODEL.MDKT.MODE", mode, "SOLVER.MAX_EPOCH", 1)
    trainer = run(tiny(TRANSFER, folder, *words, "DATALOADER.NUM_INSTANCE", 2))
    state = {name.removeprefix("module."): value for name, value in trainer.model.state_dict().items()}
    torch.save(state, Path(folder) / f"rank{comm.get_rank()}.pth")
