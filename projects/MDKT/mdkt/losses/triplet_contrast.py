"""TCL: two networks agree on how much closer a positive is than a negative."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from mdkt.losses.arguments import (
    BOTH,
    DIRECTIONS,
    MEAN,
    STUDENT_TO_TEACHER,
    SUM,
    TEACHER_TO_STUDENT,
    check_batches,
    one_of,
    positive,
)
from mdkt.losses.mining import Triplets, distances, hardest_triplets

TEACHER, STUDENT, SOURCE = "teacher", "student", "source"
MINING = (TEACHER, STUDENT, SOURCE)


class TripletProbabilities(NamedTuple):
    """How sure both networks are of the triplets that the teacher's direction compares."""

    teacher: torch.Tensor
    """``[B]``."""
    student: torch.Tensor
    """``[B]``."""
    valid: torch.Tensor
    """``[B]`` bool, whether the anchor has a positive and a negative."""


class TripletContrastLoss(nn.Module):
    """``TCL_t2s + TCL_s2t``, each a divergence ``KL(P_source || P_learner)`` with ``P = [p, 1 - p]`` for a triplet.

    ``p = exp(-d_ap / tau) / (exp(-d_ap / tau) + exp(-d_an / tau))`` is how sure a network is that the positive is
    nearer than the negative (MDKT's L_MTCL, arXiv 2201.08887, eq. 3 and 4). With ``u = (d_an - d_ap) / tau`` it is
    ``sigmoid(u)``, and the divergence is computed from ``u``, for ``p`` is 1 to rounding where ``u`` is large. Each
    anchor has one triplet, the hardest. What teaches gets no gradient.

    Args:
        temperature: ``tau``; at 1 the triplet loss with a soft margin is ``-log p``.
        mining: whose distances find the triplets: the "teacher"'s or the "student"'s, for both directions; or the
            "source"'s, in each direction those of the network that teaches.
        reduction: "mean" over the anchors that have a positive and a negative, or "sum", as on the poster.
        normalize: whether each network's distances are divided by their mean over the batch, which gets no gradient:
            for two networks of other scales.
        direction: "both"; "t2s", the teacher teaches; "s2t", the student does.
        detach: whether what teaches gets no gradient.
        scale: weight of the loss. By default there is none.

    Shapes:
        teacher ``[B, C_t]`` and student ``[B, C_s]``, embeddings; targets ``[B]`` -> scalar, in float32 at least. A
        batch without a triplet gives 0.

    Raises:
        ValueError: an argument is none of these, or the three are of other shapes.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        mining: str = TEACHER,
        reduction: str = MEAN,
        normalize: bool = False,
        direction: str = BOTH,
        detach: bool = True,
        scale: float = 1.0,
    ):
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.mining = one_of("mining", mining, MINING)
        self.reduction = one_of("reduction", reduction, (MEAN, SUM))
        self.normalize = normalize
        self.direction = one_of("direction", direction, DIRECTIONS)
        self.detach = detach
        self.scale = scale

    def forward(self, teacher: torch.Tensor, student: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        check_batches(teacher, student, targets)
        of_teacher, of_student = distances(teacher, self.normalize), distances(student, self.normalize)
        loss = of_teacher.new_zeros(())
        if self.direction != STUDENT_TO_TEACHER:
            mined = of_student if self.mining == STUDENT else of_teacher
            loss = loss + self._taught(of_teacher, of_student, hardest_triplets(mined, targets))
        if self.direction != TEACHER_TO_STUDENT:
            mined = of_teacher if self.mining == TEACHER else of_student
            loss = loss + self._taught(of_student, of_teacher, hardest_triplets(mined, targets))
        return loss * self.scale

    @torch.no_grad()
    def probabilities(
        self, teacher: torch.Tensor, student: torch.Tensor, targets: torch.Tensor
    ) -> TripletProbabilities:
        """What the loss compares where the teacher teaches, to look at; arguments as for :meth:`forward`."""
        of_teacher, of_student = distances(teacher, self.normalize), distances(student, self.normalize)
        triplets = hardest_triplets(of_student if self.mining == STUDENT else of_teacher, targets)
        margins = (self._margins(between, triplets) for between in (of_teacher, of_student))
        return TripletProbabilities(*(margin.sigmoid() for margin in margins), triplets.valid)

    def _taught(self, source: torch.Tensor, learner: torch.Tensor, triplets: Triplets) -> torch.Tensor:
        """The divergence of what ``learner`` sees in the triplets from what ``source`` sees; distances ``[B, B]``."""
        divergences = bernoulli_divergence(
            self._margins(source.detach() if self.detach else source, triplets), self._margins(learner, triplets)
        )
        total = divergences.masked_fill(~triplets.valid, 0).sum()
        return total / triplets.valid.sum().clamp_min(1) if self.reduction == MEAN else total

    def _margins(self, between: torch.Tensor, triplets: Triplets) -> torch.Tensor:
        """``u = (d_an - d_ap) / tau`` of each anchor, ``[B]``."""
        to_positive = between.gather(1, triplets.positives[:, None])
        to_negative = between.gather(1, triplets.negatives[:, None])
        return (to_negative - to_positive).squeeze(1) / self.temperature

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature}, mining={self.mining}, reduction={self.reduction}, "
            f"normalize={self.normalize}, direction={self.direction}, detach={self.detach}, scale={self.scale}"
        )


def bernoulli_divergence(source: torch.Tensor, learner: torch.Tensor) -> torch.Tensor:
    """``KL([p, 1 - p] || [q, 1 - q])`` of ``p = sigmoid(source)`` and ``q = sigmoid(learner)``, element by element."""
    first = source.sigmoid() * (F.logsigmoid(source) - F.logsigmoid(learner))
    second = (-source).sigmoid() * (F.logsigmoid(-source) - F.logsigmoid(-learner))
    return first + second
