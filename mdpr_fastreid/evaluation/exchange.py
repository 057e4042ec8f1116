"""What the processes of an evaluation tell each other."""

from typing import Any

import torch.distributed as dist
from fastreid.utils import comm


def exchange(own: Any) -> list[Any]:
    """The objects that all processes hand over, in the order of their ranks; all have to call it.

    FastReID's ``comm.all_gather`` does the same, with a warning of PyTorch 2 about its way to do it.
    """
    if comm.get_world_size() == 1:
        return [own]
    objects: list[Any] = [None] * comm.get_world_size()
    dist.all_gather_object(objects, own, group=processor_group())
    return objects


def processor_group() -> dist.ProcessGroup | None:
    """The processes' connection for what is in the memory of their processors, beside that of their GPUs."""
    return comm._get_global_gloo_group()
