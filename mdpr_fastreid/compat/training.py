"""What FastReID's own ``DefaultTrainer`` needs to train, save and resume.

``mdpr_fastreid.engine.Trainer`` needs none of it.
"""

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any

import torch
from fastreid.config import CfgNode

from mdpr_fastreid.compat.patching import Patch


def _build_optimizer(stock: Callable) -> Callable:
    def build_optimizer(cfg: CfgNode, model: torch.nn.Module, contiguous: bool = True) -> tuple:
        """See :func:`mdpr_fastreid.engine.optimizers.build_optimizer`."""
        from mdpr_fastreid.engine import optimizers

        return optimizers.build_optimizer(cfg, model, contiguous)

    return build_optimizer


def _zero_grad_drops_gradients() -> bool:
    return inspect.signature(torch.optim.Optimizer.zero_grad).parameters["set_to_none"].default is True


def _training_step(stock: type) -> type:
    from mdpr_fastreid.engine.steps import TrainingStep

    return TrainingStep


def _load_file(stock: Callable) -> Callable:
    def load_file(self: Any, f: str) -> dict[str, Any]:
        from mdpr_fastreid.weights import read_checkpoint

        return read_checkpoint(f)

    return load_file


def _in_output_dir(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def __init__(self: Any, cfg: CfgNode) -> None:
        if cfg.OUTPUT_DIR:
            os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        stock(self, cfg)

    return __init__


def _with_whole_teachers(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def __init__(self: Any, cfg: CfgNode) -> None:
        from mdpr_fastreid.modeling.meta_arch.distillation import load_teachers, teachers_configs

        files = list(cfg.KD.MODEL_WEIGHTS)
        without_files = cfg.clone()
        without_files.defrost()
        without_files.KD.MODEL_CONFIG = teachers_configs(cfg)
        without_files.KD.MODEL_WEIGHTS = [""] * len(files)
        stock(self, without_files)
        load_teachers(self, files)

    return __init__


PATCHES = (
    Patch(
        target="fastreid.solver.build:build_optimizer",
        fixes="Training never changes a weight: zero_grad() drops the gradient of FastReID's flat parameter buffer.",
        since="PyTorch 2.0",
        until="FastReID passes set_to_none=False",
        source="265336d24ebf",
        make=_build_optimizer,
        needed=_zero_grad_drops_gradients,
    ),
    Patch(
        target="fastreid.engine.train_loop:AMPTrainer",
        fixes="SOLVER.AMP.ENABLED, which FastReID's base configs set, fails with an AssertionError on a CPU.",
        since="every version, without CUDA",
        until="FastReID autocasts to what the device computes in",
        source="3fd1654fca19",
        make=_training_step,
        needed=lambda: not torch.cuda.is_available(),
    ),
    Patch(
        target="fastreid.utils.checkpoint:Checkpointer._load_file",
        fixes="Resuming fails: torch.load refuses the NumPy scalar (the metric) in FastReID's own checkpoints.",
        since="PyTorch 2.6",
        until="FastReID saves plain numbers",
        source="1dd8e8a299b5",
        make=_load_file,
    ),
    Patch(
        target="fastreid.engine.defaults:DefaultTrainer.__init__",
        fixes="A trainer that is built without default_setup fails, because OUTPUT_DIR does not exist.",
        since="every version",
        until="FastReID makes the folder",
        source="87e7a6e9ecf4",
        make=_in_output_dir,
    ),
    Patch(
        target="fastreid.modeling.meta_arch.distiller:Distiller.__init__",
        fixes="A teacher whose file does not fit teaches with random weights; a wrong config of one is a traceback.",
        since="every version",
        until="FastReID refuses weights that do not fit a teacher",
        source="3b587ab8127d",
        make=_with_whole_teachers,
    ),
)
