"""``AMPTrainer`` asserts CUDA, always, and ``SOLVER.AMP.ENABLED`` is True in FastReID's usual base configs.

Here a CPU with native bfloat16 autocasts to it and any other trains in float32. On CUDA the type is
``SOLVER.AMP.DTYPE``: "float16" with loss scaling, as stock, or "bfloat16" without. ``torch.cuda.amp``,
deprecated since PyTorch 2.4, is not used. Can go when FastReID autocasts by device and type.
"""

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.engine.defaults import DefaultTrainer
from fastreid.engine.train_loop import AMPTrainer, SimpleTrainer
from fastreid.utils.params import ContiguousParams

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.processor import computes

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def apply() -> None:
    """Mend ``AMPTrainer``, and let ``DefaultTrainer`` choose its type from the config."""
    AMPTrainer.__init__ = _init
    AMPTrainer.run_step = _run_step
    DefaultTrainer.__init__ = _choosing_dtype(DefaultTrainer.__init__)


def autocast_dtype(device_type: str, configured: str) -> torch.dtype | None:
    """The type to autocast to on this device, or None for float32.

    Args:
        device_type: "cuda" or "cpu".
        configured: ``SOLVER.AMP.DTYPE``, "float16" or "bfloat16"; a choice on CUDA only.

    Raises:
        UsageError: ``configured`` is neither.
    """
    if configured not in _DTYPES:
        raise UsageError(f"SOLVER.AMP.DTYPE {configured!r} is not one of {', '.join(_DTYPES)}")
    if device_type != "cpu":
        return _DTYPES[configured]
    return torch.bfloat16 if computes(torch.bfloat16, "cpu") else None


def _choosing_dtype(stock_init: Callable) -> Callable:
    @functools.wraps(stock_init)
    def __init__(self: DefaultTrainer, cfg: CfgNode) -> None:
        configured = cfg.SOLVER.AMP.get("DTYPE", "float16")
        if cfg.SOLVER.AMP.ENABLED:
            autocast_dtype("cuda", configured)  # a wrong value is told before minutes of preparing
        stock_init(self, cfg)
        if isinstance(self._trainer, AMPTrainer):
            _set_dtype(self._trainer, configured)
            if self._trainer.grad_scaler is not None:
                self.checkpointer.checkpointables["grad_scaler"] = self._trainer.grad_scaler

    return __init__


def _init(
    self: AMPTrainer,
    model: torch.nn.Module,
    data_loader: Any,
    optimizer: torch.optim.Optimizer,
    param_wrapper: Any,
    grad_scaler: torch.amp.GradScaler | None = None,
) -> None:
    if len(getattr(model, "device_ids", None) or []) > 1:
        raise ValueError("AMPTrainer takes one device a process")
    SimpleTrainer.__init__(self, model, data_loader, optimizer, param_wrapper)
    self.grad_scaler = grad_scaler
    _set_dtype(self, "float16")


def _set_dtype(trainer: AMPTrainer, configured: str) -> None:
    trainer.device_type = next(trainer.model.parameters()).device.type
    trainer.autocast_dtype = autocast_dtype(trainer.device_type, configured)
    if trainer.autocast_dtype != torch.float16:
        trainer.grad_scaler = None
    elif trainer.grad_scaler is None:
        trainer.grad_scaler = torch.amp.GradScaler(trainer.device_type)
    if trainer.device_type == "cpu":
        _tell_cpu_dtype(trainer.autocast_dtype)


@functools.cache
def _tell_cpu_dtype(dtype: torch.dtype | None) -> None:
    reason = "has no native bfloat16, so training is in float32" if dtype is None else "autocasts to bfloat16"
    logging.getLogger("fastreid").info(f"SOLVER.AMP.ENABLED on a CPU: this processor {reason}")


def _run_step(self: AMPTrainer) -> None:
    assert self.model.training, "[AMPTrainer] model was changed to eval mode!"
    start = time.perf_counter()
    data = next(self._data_loader_iter)
    data_time = time.perf_counter() - start

    with torch.autocast(self.device_type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
        loss_dict = self.model(data)
        loss = sum(loss_dict.values())

    self.optimizer.zero_grad()
    (loss if self.grad_scaler is None else self.grad_scaler.scale(loss)).backward()
    self._write_metrics(loss_dict, data_time)
    if self.grad_scaler is None:
        self.optimizer.step()
    else:
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
    if isinstance(self.param_wrapper, ContiguousParams):
        self.param_wrapper.assert_buffer_is_valid()
