"""Folders as a training leaves them, of models with random weights."""

from pathlib import Path

import torch
from fastreid.config import CfgNode
from support.settings import small_config

from mdpr_fastreid.config import without_unused_project_keys
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.weights.files import write_weights


def saved_run(folder: Path, *overrides, seed: int = 0) -> CfgNode:
    """Write ``config.yaml`` and ``model_best.pth`` of a small MDPR at 64 x 32; returns the config."""
    cfg = small_config(
        *("INPUT.SIZE_TEST", [64, 32], "TEST.IMS_PER_BATCH", 8, "DATASETS.TESTS", ("SynthReIDTiny",)),
        *("DATALOADER.NUM_WORKERS", 0, "OUTPUT_DIR", str(folder)),
        *overrides,
    )
    folder.mkdir(parents=True, exist_ok=True)
    # Tests of projects in the same process may have registered keys
    (folder / "config.yaml").write_text(without_unused_project_keys(cfg).dump())
    torch.manual_seed(seed)
    model = build_model(cfg)
    _settle(model, cfg)
    write_weights(model.state_dict(), folder / "model_best.pth")
    return cfg


def _settle(model: torch.nn.Module, cfg: CfgNode) -> None:
    """Give the batch norms statistics, without which a random network's features are nearly the same for all images."""
    model.train()
    images = torch.randint(0, 256, (16, 3, *cfg.INPUT.SIZE_TEST)).float()
    batch = {"images": images, "targets": torch.arange(16) // 4, "camids": torch.zeros(16, dtype=torch.int64)}
    from fastreid.utils.events import EventStorage

    with torch.no_grad(), EventStorage(0):
        model(batch)
    model.eval()
