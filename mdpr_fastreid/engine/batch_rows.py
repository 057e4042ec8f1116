"""The rows of a batch, one for each image: cut into parts, and what a model's losses are called with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree

from mdpr_fastreid.errors import UsageError

_OF_EVERY_IMAGE = (nn.Parameter, type(None), bool, int, float, str)


def images_in(batch: Any) -> int:
    """How many images a training batch has: a mapping, of which the first tensor counts, or a tensor.

    Raises:
        UsageError: there is no tensor in it.
    """
    tensors = batch.values() if isinstance(batch, Mapping) else (batch,)
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor) and tensor.dim():
            return len(tensor)
    raise UsageError(
        "a training batch without a tensor has no rows: leave SOLVER.ACCUMULATE at 1 and SOLVER.GATHER at False"
    )


def parts_of(batch: Any, parts: int) -> list[Any]:
    """A batch cut into so many of consecutive images, whose sizes differ by one at the most.

    Args:
        batch: a mapping, possibly nested, of tensors and lists with an entry for each image, or a tensor. What has
            another length is in every part.
        parts: 1 or more.

    Raises:
        UsageError: a part would have fewer than two images, which batch norm needs.
    """
    if parts == 1:
        return [batch]
    images = images_in(batch)
    if images < 2 * parts:
        raise UsageError(
            f"SOLVER.ACCUMULATE {parts}: a batch of {images} images a process gives at most {images // 2} parts of 2"
        )
    bounds = [images * part // parts for part in range(parts + 1)]
    return [_rows(batch, slice(*bounds[part : part + 2]), images) for part in range(parts)]


def _rows(value: Any, chosen: slice, images: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _rows(one, chosen, images) for key, one in value.items()}
    has_rows = isinstance(value, Sequence) and not isinstance(value, str)
    has_rows = has_rows or (isinstance(value, torch.Tensor) and value.dim() > 0)
    return value[chosen] if has_rows and len(value) == images else value


class LossInputs:
    """The arguments of a call of ``losses``: tensors with a row for each image, in dicts, lists and named tuples.

    Parameters, numbers, texts and None are the same for every image. A tensor that is there twice is one.

    Args:
        args: positional ones.
        kwargs: the others.
        images: of the batch.

    Raises:
        UsageError: there is something of which it is not known how a whole batch has it.

    Attributes:
        rows: the tensors, each ``[images, ...]``.
    """

    def __init__(self, args: tuple, kwargs: dict[str, Any], images: int) -> None:
        self._leaves, self._structure = _pytree.tree_flatten((args, kwargs))
        places: dict[int, int] = {}
        for leaf in self._leaves:
            if _has_rows(leaf, images):
                places.setdefault(id(leaf), len(places))
        self._places = [places.get(id(leaf)) for leaf in self._leaves]
        self.rows: list[torch.Tensor] = [None] * len(places)
        for leaf, place in zip(self._leaves, self._places, strict=True):
            if place is not None:
                self.rows[place] = leaf

    def with_rows(self, rows: Sequence[torch.Tensor]) -> tuple[tuple, dict[str, Any]]:
        """The arguments with other rows in the place of these."""
        leaves = zip(self._leaves, self._places, strict=True)
        return _pytree.tree_unflatten(
            [leaf if place is None else rows[place] for leaf, place in leaves], self._structure
        )


def _has_rows(leaf: Any, images: int) -> bool:
    if isinstance(leaf, _OF_EVERY_IMAGE):
        return False
    if isinstance(leaf, torch.Tensor):
        if leaf.dim() and len(leaf) == images:
            return True
        what = f"a tensor {list(leaf.shape)}, and not one with a row for each of {images} images"
    else:
        what = f"a {type(leaf).__name__}, and not tensors in dicts, lists and tuples"
    raise UsageError(
        f"SOLVER.GATHER and SOLVER.ACCUMULATE call the model's `losses` with a whole batch, and it gets {what}: leave "
        "them at False and 1"
    )
