"""What the processes of a training share of a batch: rows, and the knowledge that rows are those of all."""

import contextlib
import contextvars
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist

_has_all_rows = contextvars.ContextVar("_has_all_rows", default=False)


def process_count() -> int:
    """Processes of this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """``[...]`` of each process -> ``[processes, ...]``, in the order of their ranks; without gradient.

    Args:
        tensor: of the same shape and type in every process.
    """
    of_all = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(process_count())]
    dist.all_gather(of_all, tensor.contiguous())
    return torch.stack(of_all)


def rows_of_all(rows: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """The rows of all processes, ``[B, ...]`` -> ``[processes * B, ...]`` each, for the loss of the whole batch.

    The gradient of the own rows is multiplied by the number of processes, the others' stays with them: so the average
    that ``DistributedDataParallel`` takes is the gradient of one process with all rows.

    Args:
        rows: as many, of the same shapes and types, in every process.
    """
    return list(_RowsOfAll.apply(*rows))


@contextlib.contextmanager
def with_all_rows() -> Iterator[None]:
    """Let :func:`has_all_rows` be true inside."""
    token = _has_all_rows.set(True)
    try:
        yield
    finally:
        _has_all_rows.reset(token)


def has_all_rows() -> bool:
    """Whether what is computed now gets the rows of all processes, so that nothing is left to gather or synchronise."""
    return _has_all_rows.get() or process_count() == 1


@torch.no_grad()
def average_gradients(parameters: Iterable[torch.Tensor]) -> None:
    """Give every process the mean of all processes' gradients, in place."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.div_(process_count())
            dist.all_reduce(parameter.grad)


class _RowsOfAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.lengths = [len(row) for row in rows]
        joined: dict[int, torch.Tensor] = {}
        for dtype in dict.fromkeys(row.dtype for row in rows):
            alike = {place: row for place, row in enumerate(rows) if row.dtype == dtype}
            flat = torch.cat([row.reshape(-1) for row in alike.values()])
            of_all = gathered(flat.view(torch.uint8)).view(dtype)  # one transfer, of any type
            pieces = of_all.split([row.numel() for row in alike.values()], dim=1)
            for (place, row), piece in zip(alike.items(), pieces, strict=True):
                joined[place] = piece.reshape(-1, *row.shape[1:])
        return tuple(joined[place] for place in range(len(rows)))

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        rank, count = dist.get_rank(), process_count()
        return tuple(
            None if gradient is None else gradient.narrow(0, rank * length, length) * count
            for gradient, length in zip(gradients, ctx.lengths, strict=True)
        )
