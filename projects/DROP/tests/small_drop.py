"""Small configs and batches that the tests share."""

from pathlib import Path

import drop  # noqa: F401  (registers the method, in a process of its own too)
import torch
from fastreid.utils import comm

from mdpr_fastreid.config import read_config
from mdpr_fastreid.engine import Trainer

PROJECT = Path(__file__).parents[1]
CONFIG = PROJECT / "configs/synthreid_r18.yml"
SHARED = PROJECT / "configs/shared_features_r18.yml"


def small(*overrides, config=CONFIG, output="logs/test"):
    """DROP with ResNet-18 at 64x32 on 256 images, a single epoch."""
    data = ["DATASETS.NAMES", ("SynthReIDOccludedTiny",), "DATASETS.TESTS", ("SynthReIDOccludedTiny",)]
    data += ["INPUT.MASK.GROUPS", "synthreid_five"]
    size = ["INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], "SOLVER.IMS_PER_BATCH", 16]
    length = ["SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_ITERS", 4, "TEST.EVAL_PERIOD", 1, "TEST.EVAL_UNTRAINED", False]
    model = ["MODEL.DROP.EMBEDDING_DIM", 16, "MODEL.DROP.DPU.CHANNELS", 16, "MODEL.DROP.PCT.BANK_SIZE", 40]
    classes = ["MODEL.HEADS.NUM_CLASSES", 16, "DATALOADER.NUM_WORKERS", 0, "OUTPUT_DIR", str(output)]
    return read_config(
        config, [*data, *size, *length, *(model if config == CONFIG else model[:2]), *classes, *overrides]
    )


def batch_of(count=8, identities=2, size=(64, 32), seed=0, classes=6):
    """Noise, ``count / identities`` images each, and masks of stripes."""
    rng = torch.Generator().manual_seed(seed)
    masks = torch.arange(size[0])[:, None].mul(classes).div(size[0], rounding_mode="floor").expand(count, *size)
    return {
        "images": torch.rand(count, 3, *size, generator=rng) * 255,
        "targets": torch.arange(count) // (count // identities),
        "masks": masks.to(torch.uint8).contiguous(),
    }


def train_and_keep(folder):
    """One epoch in this process, and its weights and memory in a file of its own."""
    trainer = Trainer(small("TEST.EVAL_PERIOD", 0, "SEED", 5, output=folder))
    trainer.train()
    state = {name.removeprefix("module."): value for name, value in trainer.model.state_dict().items()}
    torch.save(state, Path(folder) / f"rank{comm.get_rank()}.pth")
