"""The part-aware compactness triplet loss: images are compared by the parts that both show."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from mdpr_fastreid.errors import SettingsError


class LabelledParts(NamedTuple):
    """Part embeddings of ``N`` images: what a bank has to hold."""

    parts: torch.Tensor
    """``[N, K, E]``."""
    targets: torch.Tensor
    """``[N]``, identities."""
    visibility: torch.Tensor | None
    """``[N, K]``, 0 to 1; None: every part is visible. An entry without a visible part is compared with nothing."""


class Triplets(NamedTuple):
    """The hardest candidates of each anchor, or of each part of each anchor: all ``[B]``, or all ``[B, K]``."""

    positive: torch.Tensor
    """Index of the farthest candidate of the anchor's identity."""
    negative: torch.Tensor
    """Index of the nearest candidate of another identity."""
    valid: torch.Tensor
    """Whether the anchor has both; where not, the indices mean nothing."""


class _Weighted(NamedTuple):
    parts: torch.Tensor
    targets: torch.Tensor
    roots: torch.Tensor
    """``sqrt(v)``, of which the weight of a pair is the product."""


class PartCompactnessTriplet(nn.Module):
    """Triplet loss on part embeddings, over the hardest pairs in the batch and in a bank (PCT, arXiv 2401.18032).

    For images ``i`` and ``j``, with ``d_k = |p_i^k - p_j^k|`` and ``w_k = sqrt(v_i^k v_j^k)``, the distance is
    ``d = sum_k w_k d_k / sum_k w_k``, and the loss ``mean over anchors of max(0, d_p - d_n + margin)``. The means are
    over the anchors that have a positive and a negative; a pair with no common part is neither. Without a bank this is
    BPBreID's part-averaged triplet loss (arXiv 2211.03679).

    Pairs are mined without gradient on distances from a matrix product in float64, in which products are exact enough
    for close pairs too; the distances of the mined pairs are computed from differences, in float32 at least.

    Args:
        margin: 0 for the soft margin ``log(1 + exp(d_p - d_n))``.
        mine: ``average`` for the hardest pairs by the distance over parts; ``part`` for the hardest of each part on its
            own, the loss being the mean over valid anchors of all parts.
        bank_for: ``negatives``, or ``both`` for positives of the bank, too.
        scale: weight of the loss.

    Shapes:
        parts ``[B, K, E]``, targets ``[B]``, visibility ``[B, K]`` (bool, or 0 to 1; None for all visible), bank with
        the attributes of :class:`LabelledParts`, or a tuple of these -> scalar.
        Visibilities and the bank get no gradient.

    Raises:
        SettingsError: a setting has no such value.
        ValueError: targets, visibilities or the bank do not fit the parts, or (on the CPU) a visibility is negative.
    """

    def __init__(self, *, margin: float = 0.3, mine: str = "average", bank_for: str = "negatives", scale: float = 1.0):
        super().__init__()
        if mine not in ("average", "part"):
            raise SettingsError(f"MODEL.DROP.PCT.MINE must be average or part, got {mine!r}")
        if bank_for not in ("negatives", "both"):
            raise SettingsError(f"MODEL.DROP.PCT.BANK_FOR must be negatives or both, got {bank_for!r}")
        if margin < 0:
            raise SettingsError(f"MODEL.DROP.PCT.MARGIN must be 0 (the soft margin) or more, got {margin}")
        self.margin = margin
        self.mine = mine
        self.bank_for = bank_for
        self.scale = scale

    def forward(
        self,
        parts: torch.Tensor,
        targets: torch.Tensor,
        visibility: torch.Tensor | None = None,
        bank: LabelledParts | None = None,
    ) -> torch.Tensor:
        """The loss of a batch; 0, with a gradient path, where no anchor has both a positive and a negative."""
        batch, candidates = self._compared(parts, targets, visibility, bank)
        triplets = self._mined(batch, candidates)
        positive, negative = (
            self._distances(batch, candidates, chosen) for chosen in (triplets.positive, triplets.negative)
        )
        gap = positive - negative
        losses = (gap + self.margin).clamp_min(0) if self.margin > 0 else F.softplus(gap)
        return losses.masked_fill(~triplets.valid, 0).sum() / triplets.valid.sum().clamp_min(1) * self.scale

    def triplets(
        self,
        parts: torch.Tensor,
        targets: torch.Tensor,
        visibility: torch.Tensor | None = None,
        bank: LabelledParts | None = None,
    ) -> Triplets:
        """What the loss of the same arguments compares; candidates are the batch, then the bank."""
        return self._mined(*self._compared(parts, targets, visibility, bank))

    @staticmethod
    def _compared(
        parts: torch.Tensor, targets: torch.Tensor, visibility: torch.Tensor | None, bank: LabelledParts | None
    ) -> tuple[_Weighted, _Weighted]:
        """Anchors and candidates."""
        batch = _weighted(LabelledParts(parts.to(torch.promote_types(parts.dtype, torch.float32)), targets, visibility))
        return batch, batch if bank is None else _joined(batch, LabelledParts(*bank) if type(bank) is tuple else bank)

    @torch.no_grad()
    def _mined(self, batch: _Weighted, candidates: _Weighted) -> Triplets:
        images = len(batch.parts)
        if not images:
            none = batch.targets.new_zeros(batch.parts.shape[: 2 if self.mine == "part" else 1], dtype=torch.long)
            return Triplets(none, none, none.bool())
        distances, comparable = self._all_distances(batch, candidates)
        same = batch.targets[:, None] == candidates.targets
        positive = same.clone()
        positive[:, :images].fill_diagonal_(False)
        if self.bank_for == "negatives":
            positive[:, images:] = False
        positive, negative = comparable & positive, comparable & ~same
        farthest = distances.masked_fill(~positive, -torch.inf).argmax(dim=-1)
        nearest = distances.masked_fill(~negative, torch.inf).argmin(dim=-1)
        valid = positive.any(dim=-1) & negative.any(dim=-1)
        return Triplets(farthest.T, nearest.T, valid.T) if self.mine == "part" else Triplets(farthest, nearest, valid)

    def _all_distances(self, batch: _Weighted, candidates: _Weighted) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances and whether they compare anything: ``[B, M]``, or for each part ``[K, B, M]``."""
        anchors, others = (images.parts.double().transpose(0, 1) for images in (batch, candidates))
        distances = torch.cdist(anchors, others)
        roots, other_roots = batch.roots.double().T[:, :, None], candidates.roots.double().T[:, None]
        if self.mine == "part":
            return distances, (roots > 0) & (other_roots > 0)
        weights = roots * other_roots
        shared = weights.sum(dim=0)
        return distances.mul_(weights).sum(dim=0) / shared.clamp_min(torch.finfo(shared.dtype).tiny), shared > 0

    def _distances(self, batch: _Weighted, candidates: _Weighted, chosen: torch.Tensor) -> torch.Tensor:
        """Distances of the anchors to the candidates that were chosen for them: ``[B]``, or ``[B, K]``."""
        if self.mine == "part":
            others = candidates.parts[chosen, torch.arange(chosen.size(1), device=chosen.device)]
            return torch.linalg.vector_norm(batch.parts - others, dim=2)
        # The norm's gradient at zero is zero
        distances = torch.linalg.vector_norm(batch.parts - candidates.parts[chosen], dim=2)
        weights = batch.roots * candidates.roots[chosen]
        shared = weights.sum(dim=1)
        return (weights * distances).sum(dim=1) / shared.masked_fill(shared == 0, 1)

    def extra_repr(self) -> str:
        return f"margin={self.margin}, mine={self.mine}, bank_for={self.bank_for}, scale={self.scale}"


def _weighted(images: LabelledParts) -> _Weighted:
    if images.targets.shape != images.parts.shape[:1]:
        raise ValueError(f"targets must be [images], got {list(images.targets.shape)} for {len(images.parts)} images")
    if images.visibility is None:
        return _Weighted(images.parts, images.targets, images.parts.new_ones(images.parts.shape[:2]))
    if images.visibility.shape != images.parts.shape[:2]:
        shapes = f"{list(images.visibility.shape)} for parts {list(images.parts.shape)}"
        raise ValueError(f"visibilities must be [images, parts], got {shapes}")
    # A GPU would have to be waited for
    if images.visibility.device.type == "cpu" and (images.visibility < 0).any():
        raise ValueError("a visibility is negative: they are 0 to 1")
    # Zeros, as a pooled embedding of nothing may be NaN, which no weight of 0 takes out of a sum
    parts = images.parts.masked_fill((images.visibility == 0)[..., None], 0)
    return _Weighted(parts, images.targets, images.visibility.detach().to(parts.dtype).sqrt())


def _joined(batch: _Weighted, bank: LabelledParts) -> _Weighted:
    """The batch, then the bank."""
    if bank.parts.shape[1:] != batch.parts.shape[1:]:
        shapes = f"{list(bank.parts.shape[1:])}, the batch's {list(batch.parts.shape[1:])}"
        raise ValueError(f"the bank's parts are {shapes}")
    stored = _weighted(LabelledParts(bank.parts.detach().to(batch.parts), bank.targets, bank.visibility))
    return _Weighted(*(torch.cat(pair) for pair in zip(batch, stored, strict=True)))
