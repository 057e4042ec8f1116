"""Configs of runs that take seconds: a small network, tiny images, SynthReID's tiny preset."""

import os

import torch
from fastreid.config import CfgNode, get_cfg

from mdpr_fastreid import add_mdpr_config


def small_config(output_dir: os.PathLike | str, *overrides) -> CfgNode:
    """ResNet-18 at 32 x 16 on SynthReIDTiny, two epochs of four iterations, on the CPU.

    Args:
        output_dir: where the run writes.
        *overrides: ``KEY, VALUE, KEY, VALUE, ...`` on top.
    """
    cfg = get_cfg()
    add_mdpr_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.DEPTH = "18x"
    cfg.MODEL.BACKBONE.FEAT_DIM = 512
    cfg.MODEL.HEADS.WITH_BNNECK = True
    cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss", "TripletLoss")
    cfg.INPUT.SIZE_TRAIN = [32, 16]
    cfg.INPUT.SIZE_TEST = [32, 16]
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
    cfg.OUTPUT_DIR = str(output_dir)
    cfg.merge_from_list(list(overrides))
    return cfg


def weights_of(path: os.PathLike | str) -> dict[str, torch.Tensor]:
    """The model's tensors in a checkpoint."""
    return torch.load(path, weights_only=True)["model"]
