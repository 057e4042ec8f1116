"""Pools a map into one embedding of the whole picture, of the foreground and of each part."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from mdpr_fastreid.errors import SettingsError

MODES = ("avg+max", "avg", "max", "bpbreid")


class PooledParts(NamedTuple):
    """What is pooled from the maps of ``B`` images, in float32 at least."""

    whole: torch.Tensor
    """``[B, C]``."""
    foreground: torch.Tensor
    """``[B, C]``."""
    parts: torch.Tensor
    """``[B, K, C]``."""


def part_pooling(features: torch.Tensor, probabilities: torch.Tensor, mode: str = "avg+max") -> PooledParts:
    """Weighted average and masked maximum of a map, for the picture, the foreground and each part (arXiv 2401.18032).

    ``e_m = sum_x M_m(x) F(x) / max(sum_x M_m(x), 1e-6) + max_x M_m(x) F(x)``. ``M_k`` is the probability of part ``k``
    at the size of ``F`` (:func:`pooling_weights`), ``max_k M_k`` that of the foreground, and 1 for the picture.

    Args:
        features: ``F``, ``[B, C, h, w]``, none negative.
        probabilities: ``[B, K + 1, H, W]``, the background first.
        mode: ``avg+max``; one of both terms alone, ``avg`` or ``max``; or ``bpbreid``, as BPBreID (arXiv 2211.03679)
            pools: parts by weighted average, the picture and the foreground by the mean of ``M F``.

    Raises:
        SettingsError: there is no such mode.
    """
    if mode not in MODES:
        raise SettingsError(f"MODEL.DROP.POOLING must be one of {', '.join(MODES)}, got {mode!r}")
    dtype = torch.promote_types(torch.promote_types(features.dtype, probabilities.dtype), torch.float32)
    parts = pooling_weights(probabilities.to(dtype), features.shape[2:]).flatten(2)
    foreground = parts.amax(dim=1, keepdim=True)
    masks = torch.cat([torch.ones_like(foreground), foreground, parts], dim=1)
    features = features.to(dtype).flatten(2)
    terms = []
    if mode != "max":
        terms.append(_averages(features, masks, divided_from=2 if mode == "bpbreid" else 0))
    if mode in ("max", "avg+max"):
        terms.append(masked_maximum(features, masks))
    pooled = sum(terms[1:], terms[0])
    whole, foreground, parts = pooled.split([1, 1, pooled.shape[1] - 2], dim=1)
    return PooledParts(whole.squeeze(1), foreground.squeeze(1), parts)


def pooling_weights(probabilities: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The share of each part in the cells of a smaller map, by area.

    With the background's they still add up to 1, and a weighted average is that of the map enlarged by repetition.

    Args:
        probabilities: ``[B, K + 1, H, W]``, the background first.
        size: of the smaller map, ``(h, w)``.

    Returns:
        ``[B, K, h, w]``.
    """
    _, parts = probabilities.split([1, probabilities.shape[1] - 1], dim=1)
    return F.adaptive_avg_pool2d(parts, size)


def masked_maximum(features: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """``max_x M_m(x) F_c(x)`` without holding all products, which are as large as ``masks`` maps.

    For the gradient, which is that of the largest cell alone, no product is kept at all.

    Args:
        features: ``F``, ``[B, C, cells]``.
        masks: ``M``, ``[B, masks, cells]``.

    Returns:
        ``[B, masks, C]``.
    """
    if features.requires_grad or masks.requires_grad:
        cells = _largest_cells(features.detach(), masks.detach())
        return features.gather(2, cells.transpose(1, 2)).transpose(1, 2) * masks.gather(2, cells)
    # On a CPU, fresh memory for each product costs more than the product
    product = torch.empty_like(features)
    largest = [torch.mul(features, mask.unsqueeze(1), out=product).amax(dim=2) for mask in masks.unbind(dim=1)]
    return torch.stack(largest, dim=1)


def _largest_cells(features: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Which cell has the largest product, ``[B, masks, C]``: cell by cell, several times as fast as ``argmax``."""
    by_cell = zip(features.permute(2, 0, 1).contiguous(), masks.permute(2, 0, 1).contiguous(), strict=True)
    largest = cells = None
    for number, (values, shares) in enumerate(by_cell):
        product = shares[:, :, None] * values[:, None]
        if largest is None:
            largest, cells = product, torch.zeros_like(product, dtype=torch.int16)
        else:
            cells.masked_fill_(product > largest, number)
            torch.maximum(largest, product, out=largest)
    return cells.long()


def _averages(features: torch.Tensor, masks: torch.Tensor, divided_from: int) -> torch.Tensor:
    """Averages weighted by the masks from one mask on, ``[B, masks, C]``; before it, means of what is masked."""
    areas = masks.sum(dim=2, keepdim=True).clamp_min(1e-6)
    if divided_from:
        before, after = areas.split([divided_from, areas.shape[1] - divided_from], dim=1)
        areas = torch.cat([torch.full_like(before, features.shape[2]), after], dim=1)
    # Under autocast the weights would be rounded to half precision
    with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
        return torch.bmm(masks, features.transpose(1, 2)) / areas
