"""One training step, in float32, bfloat16 or float16, that reads nothing from the device."""

import contextlib
import functools
import logging
import time
from collections.abc import Iterable, Mapping

import torch
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.utils import comm
from fastreid.utils.events import get_event_storage
from fastreid.utils.params import ContiguousParams
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from mdpr_fastreid.data import start_epoch
from mdpr_fastreid.engine.storage import TOTAL_LOSS, DeferredStorage, check_finite
from mdpr_fastreid.engine.whole_batch import WholeBatch
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling.all_processes import average_gradients, gathered
from mdpr_fastreid.processor import computes

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class TrainingStep(SimpleTrainer):
    """Takes a batch, computes the losses and their gradients, and updates the weights.

    Called as FastReID's ``AMPTrainer`` is, it trains as that does on a GPU, and runs on a CPU, too.

    Args:
        model: takes a batch and returns its losses by name; put into training mode.
        data_loader: gives batches without end.
        optimizer: of the model's parameters.
        param_wrapper: what ``build_optimizer`` returned beside the optimizer.
        grad_scaler: scales the loss in float16; PyTorch's own by default.
        precision: "float32", or ``SOLVER.AMP.DTYPE``, see :func:`autocast_dtype`.
        accumulate: ``SOLVER.ACCUMULATE``, the parts in which a batch is computed.
        gather: ``SOLVER.GATHER``, whether losses are those of all processes' images.

    Raises:
        ValueError: the model computes on several devices.
        UsageError: the model's losses cannot be those of a whole batch, see
            :class:`~mdpr_fastreid.engine.whole_batch.WholeBatch`.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: torch.optim.Optimizer,
        param_wrapper: ContiguousParams | list,
        grad_scaler: torch.amp.GradScaler | None = None,
        *,
        precision: str = "float16",
        accumulate: int = 1,
        gather: bool = False,
    ) -> None:
        if len(getattr(model, "device_ids", None) or []) > 1:
            raise ValueError("a training step takes one device a process")
        super().__init__(model, data_loader, optimizer, param_wrapper)
        self.device_type = next(model.parameters()).device.type
        self.autocast_dtype = autocast_dtype(self.device_type, precision)
        if self.autocast_dtype != torch.float16:
            grad_scaler = None
        elif grad_scaler is None:
            grad_scaler = torch.amp.GradScaler(self.device_type)
        self.grad_scaler = grad_scaler
        gather = gather and comm.get_world_size() > 1
        self._whole_batch = WholeBatch(model, accumulate, gather) if accumulate > 1 or gather else None
        # What DistributedDataParallel does for a batch of one part
        self._averages_gradients = accumulate > 1 and isinstance(model, DistributedDataParallel)
        if precision != "float32" and self.device_type == "cpu":
            _log_cpu_dtype(self.autocast_dtype)

    def run_step(self) -> None:
        """Train on the next batch.

        Raises:
            FloatingPointError: the loss is infinite or NaN, and the storage in use reads it now; a
                :class:`~mdpr_fastreid.engine.storage.DeferredStorage` raises later.
        """
        assert self.model.training, "the model was put into evaluation mode"
        start = time.perf_counter()
        if self._data_loader_iter is None:
            self._data_loader_iter = iter(self.data_loader)
        data = self._next_batch()
        data_time = time.perf_counter() - start

        self.optimizer.zero_grad()
        losses = self.add_gradients(data)
        self._write_metrics(losses, data_time)
        if self.grad_scaler is None:
            self.optimizer.step()
        else:
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()
        if isinstance(self.param_wrapper, ContiguousParams):
            self.param_wrapper.assert_buffer_is_valid()

    def add_gradients(self, batch: Mapping) -> Mapping[str, torch.Tensor]:
        """Compute the losses of a batch, and add their gradients to those of the weights; averaged over the processes.

        Returns:
            Scalar losses by name.
        """
        if self._whole_batch is None:
            losses = self._forward(self.model, batch)
            self._backward(losses)
            return losses
        losses = self._whole_batch.add_gradients(batch, self._forward, self._backward)
        if self._averages_gradients:
            average_gradients(one for group in self.optimizer.param_groups for one in group["params"])
        return losses

    def _forward(self, model: nn.Module, batch: Mapping) -> Mapping[str, torch.Tensor]:
        with self._autocast():
            losses = model(batch)
        _check_scalars(losses)
        return losses

    def _backward(self, losses: Mapping[str, torch.Tensor]) -> None:
        total = sum(losses.values())
        (total if self.grad_scaler is None else self.grad_scaler.scale(total)).backward()

    def _next_batch(self) -> Mapping:
        try:
            return next(self._data_loader_iter)
        except StopIteration:
            raise UsageError(
                "the loader has no more batches: a sampler (DATALOADER.SAMPLER_TRAIN) yields indices without end"
            ) from None

    def start_epoch(self, seed: int, epoch: int) -> None:
        """Let the batches of an epoch follow from the seed and the epoch alone; other iterables go on as they are.

        Args:
            seed: ``SEED``, at least 0.
            epoch: from 0.
        """
        if isinstance(self.data_loader, DataLoader):
            self._data_loader_iter = None  # ends the workers of the last epoch before the next ones start
            self._data_loader_iter = start_epoch(self.data_loader, seed, epoch)

    def stop_loading(self) -> None:
        """End the endless prefetching of batches; the next step would start it again."""
        if isinstance(self.data_loader, DataLoader):
            if hasattr(self._data_loader_iter, "close"):
                self._data_loader_iter.close()
            self._data_loader_iter = None

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, self.autocast_dtype)

    def _write_metrics(self, loss_dict: Mapping[str, torch.Tensor], data_time: float) -> None:
        """Store the losses, averaged over the processes, and the longest wait for data."""
        losses = torch.stack([loss.detach().reshape(()).double() for loss in loss_dict.values()])
        if comm.get_world_size() > 1:
            mine = torch.cat([losses, losses.new_full((1,), data_time)])
            of_all = gathered(mine)
            losses, data_time = of_all[:, :-1].mean(dim=0), of_all[:, -1].max()
        if not comm.is_main_process():
            return
        storage = get_event_storage()
        metrics = {TOTAL_LOSS: losses.sum()}
        if len(loss_dict) > 1:
            metrics |= dict(zip(loss_dict, losses.unbind(), strict=True))
        if not isinstance(storage, DeferredStorage):  # which checks what it is given when it reads it
            check_finite({name: value.item() for name, value in metrics.items()}, storage.iter)
        storage.put_scalar("data_time", data_time)
        storage.put_scalars(**metrics)


def _check_scalars(losses: Mapping[str, torch.Tensor]) -> None:
    """Refuse a loss that is not one number.

    Raises:
        UsageError: it names the loss and its shape.
    """
    for name, loss in losses.items():
        if loss.numel() != 1:
            raise UsageError(f"the model's {name} must be a scalar, got {list(loss.shape)}: take its mean or its sum")


def autocast_dtype(device_type: str, precision: str) -> torch.dtype | None:
    """The type to autocast to on a device, or None for float32.

    Args:
        device_type: "cuda" or "cpu".
        precision: "float32", "float16" or "bfloat16". A CPU computes in bfloat16 if that is asked for and the processor
            has it, in float32 otherwise.
    """
    if precision == "float32":
        return None
    if device_type != "cpu":
        return _DTYPES[precision]
    # Not for "float16", the default: on a Xeon with AMX, PyTorch 2.15's bfloat16 training gave NaN now and then
    return torch.bfloat16 if precision == "bfloat16" and computes(torch.bfloat16, "cpu") else None


@functools.cache
def _log_cpu_dtype(dtype: torch.dtype | None) -> None:
    how = "is in float32" if dtype is None else "autocasts to bfloat16"
    logging.getLogger("fastreid").info(
        f"SOLVER.AMP.ENABLED on a CPU: training {how} (SOLVER.AMP.DTYPE bfloat16 asks for bfloat16)"
    )
