"""PD: a student keeps the distances that its teacher sees between the samples of a batch."""

import torch
import torch.nn.functional as F
from torch import nn

from mdkt.losses.arguments import MEAN, SUM, check_batches, one_of
from mdkt.losses.mining import distances, squared_distances

_PENALTIES = {
    "l2": torch.square,
    "l1": torch.abs,
    "huber": lambda gap: F.smooth_l1_loss(gap, torch.zeros_like(gap), reduction="none"),
}


class PairwiseDistanceLoss(nn.Module):
    """``sum over pairs i < j of (D_t(i, j) - D_s(i, j))^2`` over ``B^2``, with ``D(i, j) = sum (e_i - e_j)^2``.

    MDKT's L_PD (arXiv 2201.08887) by VKD's definition (arXiv 2007.04174, distance preservation): half the mean over all
    ``B^2`` entries, of distances that are squared and not normalised.

    Args:
        squared: whether distances are squared, ``D``, as the weight of VKD is made for; else ``d = sqrt(D + 1e-12)``.
        normalize: whether each network's distances are divided by their mean over the batch, which gets no gradient:
            for two networks of other scales.
        mutual: whether the teacher moves, too; else it gets no gradient.
        reduction: "mean" as VKD; "sum" over the pairs ``i < j``, as on MDKT's poster: ``B^2`` times as much.
        penalty: "l2", or VKD's others "l1" and "huber".
        scale: weight of the loss. By default there is none; 1e-4 in VKD.

    Shapes:
        teacher ``[B, C_t]`` and student ``[B, C_s]``, embeddings -> scalar, in float32 at least.

    Raises:
        ValueError: an argument is none of these, or the two are of other shapes.
    """

    def __init__(
        self,
        squared: bool = True,
        normalize: bool = False,
        mutual: bool = False,
        reduction: str = MEAN,
        penalty: str = "l2",
        scale: float = 1.0,
    ):
        super().__init__()
        self.squared = squared
        self.normalize = normalize
        self.mutual = mutual
        self.reduction = one_of("reduction", reduction, (MEAN, SUM))
        self.penalty = one_of("penalty", penalty, tuple(_PENALTIES))
        self.scale = scale

    def forward(self, teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
        check_batches(teacher, student)
        between = squared_distances if self.squared else distances
        of_teacher = between(teacher if self.mutual else teacher.detach(), self.normalize)
        penalties = _PENALTIES[self.penalty](of_teacher - between(student, self.normalize))
        # Every pair is there twice, and the diagonal adds nothing
        return (penalties.mean() if self.reduction == MEAN else penalties.sum()) / 2 * self.scale

    def extra_repr(self) -> str:
        return (
            f"squared={self.squared}, normalize={self.normalize}, mutual={self.mutual}, reduction={self.reduction}, "
            f"penalty={self.penalty}, scale={self.scale}"
        )
