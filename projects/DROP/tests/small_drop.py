"""Small configs and batches that the tests share."""

from pathlib import Path

import torch

from mdpr_fastreid.config import read_config

PROJECT = Path(__file__).parents[1]
CONFIG = PROJECT / "configs/synthreid_r18.yml"
SHARED = PROJECT / "configs/shared_features_r18.yml"


def small(*overrides, config=CONFIG, output="logs/test"):
    """DROP with ResNet-18 at 64x32 on 256 images, a single epoch."""
    data = ["DATASETS.NAMES", ("SynthReIDOccludedTiny",), "DATASETS.TESTS", ("SynthReIDOccludedTiny",)]
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
