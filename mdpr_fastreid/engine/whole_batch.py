"""Losses of the whole batch, where it does not fit the memory at once, or lies in several processes."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mdpr_fastreid.engine.batch_rows import LossInputs, images_in, parts_of
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling.all_processes import has_all_rows, rows_of_all, with_all_rows
from mdpr_fastreid.modeling.buffers import keeping_buffers

Losses = Mapping[str, torch.Tensor]


class WholeBatch:
    """Lets a model's ``losses`` see all parts of a batch, and all processes', whatever is computed at a time.

    A model that ends its training forward pass with ``self.losses(...)``, as FastReID's do, gets there with one part
    after the other. Metric losses need all images at once, and get them:

    * **Parts** (cached gradients, Gao et al., GradCache, arXiv 2101.06983): all parts but the last run without
      gradients, and the inputs of their losses are kept. The last part runs with gradients, and ``losses`` gets its
      inputs with the kept ones. Its backward pass gives the gradients of these, too, with which each of the first
      parts runs once more. The second pass draws the random numbers of the first and leaves buffers alone.
    * **Processes**: the inputs are gathered over all, see :func:`~mdpr_fastreid.modeling.all_processes.rows_of_all`.

    Everything but batch norm, whose statistics are those of a part, is as for the whole batch at once.

    Args:
        model: it may be in a ``DistributedDataParallel``; with several parts, its gradients are not averaged here.
        parts: that the batch of a process is cut into.
        gather: whether the losses are those of all processes' images.

    Raises:
        UsageError: the model has no ``losses``.
    """

    def __init__(self, model: nn.Module, parts: int = 1, gather: bool = False) -> None:
        self._network = model.module if isinstance(model, DistributedDataParallel) else model
        # The wrapper would send the gradients of every part
        self._called = self._network if parts > 1 else model
        self._parts = parts
        self._gather = gather and not has_all_rows()
        if not callable(getattr(self._network, "losses", None)):
            raise self._refusal("has no method `losses`")

    def add_gradients(
        self, batch: Any, forward: Callable[[nn.Module, Any], Losses], backward: Callable[[Losses], object]
    ) -> Losses:
        """Add the gradients of a batch's losses to those that parameters have.

        Args:
            batch: of this process, which fits or is cut into parts.
            forward: from the model and a batch to its losses, say with autocast.
            backward: from the losses to their backward pass, say with a scale.

        Returns:
            The losses of the whole batch.

        Raises:
            UsageError: a part of the losses is not computed in ``losses``, or of what has no rows.
        """
        *first, last = parts_of(batch, self._parts)
        kept = [self._first_pass(forward, part) for part in first]
        losses = self._last_pass(forward, last, [one.inputs for one in kept])
        backward(losses)
        after = _random_state(self._device)
        for part, one in zip(first, kept, strict=True):
            self._second_pass(forward, part, one)
        if first:
            _set_random_state(after)
        return losses

    @property
    def _device(self) -> torch.device:
        return next(self._network.parameters()).device

    @torch.no_grad()
    def _first_pass(self, forward: Callable, part: Any) -> "_Kept":
        random_state = _random_state(self._device)
        inputs = self._inputs_of_losses(forward, part)
        # Copies: a row may be a view of a map that need not stay
        rows = [row.clone().requires_grad_(row.is_floating_point()) for row in inputs.rows]
        return _Kept(LossInputs(*inputs.with_rows(rows), images_in(part)), random_state)

    def _last_pass(self, forward: Callable, part: Any, kept: Sequence[LossInputs]) -> Losses:
        compute, given = self._network.losses, []

        def losses(*args: Any, **kwargs: Any) -> Losses:
            own = LossInputs(args, kwargs, images_in(part))
            rows = [torch.cat(same) for same in zip(*(one.rows for one in kept), own.rows, strict=True)]
            with contextlib.ExitStack() as stack:
                if self._gather:
                    rows = rows_of_all(rows)
                    stack.enter_context(with_all_rows())
                args, kwargs = own.with_rows(rows)
                given.append(compute(*args, **kwargs))
            return given[-1]

        with self._calling(losses):
            returned = forward(self._called, part)
        if not given:
            raise self._refusal("does not call its method `losses`")
        if len(returned) > sum(map(len, given)):
            raise self._refusal(f"computes losses outside its method `losses`, some of {', '.join(returned)}")
        return returned

    def _second_pass(self, forward: Callable, part: Any, kept: "_Kept") -> None:
        _set_random_state(kept.random_state)
        with keeping_buffers(self._network):
            inputs = self._inputs_of_losses(forward, part)
        pairs = zip(inputs.rows, kept.inputs.rows, strict=True)
        reached = [(row, copy.grad) for row, copy in pairs if row.requires_grad and copy.grad is not None]
        if reached:
            torch.autograd.backward(*zip(*reached, strict=True))

    def _inputs_of_losses(self, forward: Callable, part: Any) -> LossInputs:
        """What a part brings to ``losses``, of which nothing is computed."""
        reached: list[LossInputs] = []

        def losses(*args: Any, **kwargs: Any) -> Losses:
            reached.append(LossInputs(args, kwargs, images_in(part)))
            return {}

        with self._calling(losses):
            try:
                returned = forward(self._called, part)
            except KeyError as error:
                if not reached:
                    raise
                raise self._refusal(f"reads {error} of what its method `losses` gave") from error
        if len(reached) != 1:
            raise self._refusal(f"calls its method `losses` {len(reached)} times")
        if outside := [name for name, value in returned.items() if isinstance(value, torch.Tensor)]:
            raise self._refusal(f"computes {', '.join(outside)} outside its method `losses`")
        return reached[0]

    @contextlib.contextmanager
    def _calling(self, losses: Callable[..., Losses]) -> Iterator[None]:
        """Let the model find this as its ``losses``."""
        attributes = self._network.__dict__
        own = {"losses": attributes["losses"]} if "losses" in attributes else {}
        attributes["losses"] = losses
        try:
            yield
        finally:
            del attributes["losses"]
            attributes.update(own)

    def _refusal(self, what: str) -> UsageError:
        keys = [f"SOLVER.ACCUMULATE {self._parts}"] if self._parts > 1 else []
        keys += ["SOLVER.GATHER True"] if self._gather else []
        return UsageError(
            f"{' and '.join(keys)}: the losses of a whole batch are computed in one method of the model, and "
            f"{type(self._network).__name__} {what} (docs/extending.md); leave SOLVER.ACCUMULATE at 1 and "
            "SOLVER.GATHER at False"
        )


class _RandomState(NamedTuple):
    host: torch.Tensor
    device: torch.Tensor | None
    """That of the GPU, if there is one."""
    place: torch.device


class _Kept(NamedTuple):
    """Of a part that has run without gradients."""

    inputs: LossInputs
    """Copies, which get the gradients of the losses."""
    random_state: _RandomState
    """Before it ran."""


def _random_state(device: torch.device) -> _RandomState:
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return _RandomState(torch.get_rng_state(), on_gpu, device)


def _set_random_state(state: _RandomState) -> None:
    torch.set_rng_state(state.host)
    if state.device is not None:
        torch.cuda.set_rng_state(state.device, state.place)
