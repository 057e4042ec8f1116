"""``MODEL.DEVICE cuda``, FastReID's default, on a machine without CUDA: the model is built on the CPU.

Stock ends in an error from deep inside PyTorch, always, on a CPU. Can go when FastReID chooses a device.
"""

import functools
import logging

import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build as meta_arch_build

from mdpr_fastreid.compat.replacing import replace


def apply() -> None:
    """Let ``build_model`` fall back to the CPU."""
    stock_build_model = meta_arch_build.build_model

    def build_model(cfg: CfgNode) -> torch.nn.Module:
        return stock_build_model(on_available_device(cfg))

    replace(meta_arch_build, "build_model", build_model)


def on_available_device(cfg: CfgNode) -> CfgNode:
    """The config itself, or a copy that says ``MODEL.DEVICE cpu`` if it asks for a CUDA that is not there."""
    if torch.device(cfg.MODEL.DEVICE).type != "cuda" or torch.cuda.is_available():
        return cfg
    _warn_once(cfg.MODEL.DEVICE)
    cfg = cfg.clone()
    frozen = cfg.is_frozen()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    if frozen:
        cfg.freeze()
    return cfg


@functools.cache
def _warn_once(device: str) -> None:
    logging.getLogger("fastreid").warning(
        f"MODEL.DEVICE is {device}, but PyTorch finds no CUDA device here: using the CPU"
    )
