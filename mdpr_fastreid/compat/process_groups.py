"""Runs of several processes without GPUs, and under ``torchrun``."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from mdpr_fastreid.compat.patching import Patch


def _launch(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def launch(*args: Any, **kwargs: Any) -> None:
        from mdpr_fastreid.engine.launch import launch

        launch(*args, **kwargs)

    return launch


def _launch_is_needed() -> bool:
    from mdpr_fastreid.engine.torchrun import started_by_torchrun

    return not torch.cuda.is_available() or started_by_torchrun()


def _distributed(stock: type) -> Callable:
    def distributed(model: torch.nn.Module, device_ids: list | None = None, **options: Any) -> torch.nn.Module:
        on_cpu = next(model.parameters()).device.type == "cpu"
        return stock(model, device_ids=None if on_cpu else device_ids, **options)

    return distributed


PATCHES = (
    Patch(
        target="fastreid.engine.launch:launch",
        fixes="Several processes fail without CUDA, and under torchrun each process trains for itself.",
        since="every version, without CUDA or under torchrun",
        until="FastReID chooses gloo without CUDA, and joins the group that torchrun started",
        source="3e4eac9b6d42",
        make=_launch,
        needed=_launch_is_needed,
    ),
    Patch(
        target="fastreid.engine.defaults:DistributedDataParallel",
        fixes="A model on the CPU cannot be trained by several processes: it is wrapped for a GPU.",
        since="every version, without CUDA",
        until="FastReID asks on which device the model is",
        source="87e7a6e9ecf4",
        source_of="fastreid.engine.defaults:DefaultTrainer.__init__",
        make=_distributed,
        needed=lambda: not torch.cuda.is_available(),
    ),
)
