"""What a model does once, before a training that starts anew: its ``prepare_training``."""

import itertools
import logging
from collections.abc import Iterable

import torch
import torch.distributed as dist
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from mdpr_fastreid.errors import UsageError


@torch.no_grad()
def prepare_training(cfg: CfgNode, model: nn.Module, training_set: Dataset) -> None:
    """Call a model's ``prepare_training(cfg, training_set)``, if it has one; all processes then have rank 0's tensors.

    Args:
        cfg: the run's config.
        model: its optimizer exists, so the method has to change parameters in place; of one that
            ``DistributedDataParallel`` wraps, it is the method of the model inside.
        training_set: what is trained on: ``len``, ``num_classes``, ``img_items``.

    Raises:
        UsageError: the method put another parameter, or other memory, in the place of one that is trained.
    """
    model = model.module if isinstance(model, DistributedDataParallel) else model
    prepare = getattr(model, "prepare_training", None)
    if prepare is None:
        return
    before = _places(model)
    logging.getLogger("fastreid").info(f"{type(model).__name__} prepares its training")
    prepare(cfg, training_set)
    after = _places(model)
    for name in before.keys() | after.keys():
        if before.get(name) != after.get(name):
            raise UsageError(
                f"{type(model).__name__}.prepare_training replaced the parameter {name}, and the optimizer would go on "
                "with the one before: change it in place (copy_, load_state_dict)"
            )
    if comm.get_world_size() > 1:
        take_from_first_process(itertools.chain(model.parameters(), model.buffers()))


def _places(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Where each parameter is, and where its numbers are."""
    return {name: (id(parameter), parameter.data_ptr()) for name, parameter in model.named_parameters()}


@torch.no_grad()
def take_from_first_process(tensors: Iterable[torch.Tensor]) -> None:
    """Give every process the numbers of the first one, in place."""
    for tensor in tensors:
        sent = tensor.contiguous()
        dist.broadcast(sent, 0)
        tensor.copy_(sent)
