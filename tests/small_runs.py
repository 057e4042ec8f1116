"""Configs of runs that take seconds: a network of two convolutions, tiny images, SynthReID's tiny preset."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mdpr_fastreid import add_mdpr_config  # isort: skip  (patches FastReID, so it comes first)
from fastreid.config import CfgNode, get_cfg
from fastreid.engine import DefaultTrainer
from fastreid.layers import get_norm
from fastreid.modeling.backbones import BACKBONE_REGISTRY

from mdpr_fastreid.engine import Trainer


class SmallBackbone(nn.Sequential):
    """Maps ``[B, 3, H, W]`` to ``[B, 16, H/4, W/4]``, with the layers whose state a resumed run has to restore."""

    def __init__(self, norm: str, dropout: float) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            get_norm(norm, 8),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            get_norm(norm, 16),
        )


@BACKBONE_REGISTRY.register()
def build_small_backbone(cfg: CfgNode) -> SmallBackbone:
    """The backbone of ``small_config``."""
    return SmallBackbone(cfg.MODEL.BACKBONE.NORM, cfg.MODEL.BACKBONE.DROP_RATIO)


def small_config(output_dir: os.PathLike | str, *overrides) -> CfgNode:
    """Two epochs of four iterations at 32 x 16 on SynthReIDTiny, on the CPU.

    Args:
        output_dir: where the run writes.
        *overrides: ``KEY, VALUE, KEY, VALUE, ...`` on top.
    """
    cfg = get_cfg()
    add_mdpr_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_small_backbone"
    cfg.MODEL.BACKBONE.FEAT_DIM = 16
    cfg.MODEL.BACKBONE.DROP_RATIO = 0.1
    cfg.MODEL.HEADS.WITH_BNNECK = True
    cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss", "TripletLoss")
    cfg.INPUT.SIZE_TRAIN = [32, 16]
    cfg.INPUT.SIZE_TEST = [32, 16]
    cfg.INPUT.FLIP.ENABLED = True
    cfg.DATASETS.NAMES = ("SynthReIDTiny",)
    cfg.DATASETS.TESTS = ("SynthReIDTiny",)
    cfg.DATALOADER.SAMPLER_TRAIN = "NaiveIdentitySampler"
    cfg.DATALOADER.NUM_INSTANCE = 4
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 64
    cfg.SOLVER.MAX_EPOCH = 2
    cfg.SOLVER.WARMUP_ITERS = 2
    cfg.SOLVER.CHECKPOINT_PERIOD = 1
    cfg.TEST.EVAL_PERIOD = 2
    cfg.TEST.IMS_PER_BATCH = 128
    cfg.TEST.PRECISE_BN.DATASET = "SynthReIDTiny"
    cfg.TEST.PRECISE_BN.NUM_ITER = 3
    cfg.OUTPUT_DIR = str(output_dir)
    cfg.merge_from_list(list(overrides))
    return cfg


def trained(cfg: CfgNode, resume: bool = False, trainer_class: type[DefaultTrainer] = Trainer) -> DefaultTrainer:
    """The trainer after its run; its results are in ``_last_eval_results``."""
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def weights_of(path: os.PathLike | str) -> dict[str, torch.Tensor]:
    """The model's tensors in a checkpoint."""
    return torch.load(path, weights_only=True)["model"]


def assert_same_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """Bit for bit."""
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


@contextmanager
def logged_by_fastreid() -> Iterator[list[str]]:
    """The messages that FastReID's logger, which does not propagate once set up, gets meanwhile."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("fastreid")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
