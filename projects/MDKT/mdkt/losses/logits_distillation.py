"""MKD: two networks learn each other's class probabilities."""

import torch
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


class MutualLogitsDistillation(nn.Module):
    """``KD_t2s + KD_s2t`` with ``KD_t2s = tau^2 sum_c q_t log(q_t / q_s)``, ``q = softmax(z / tau)``.

    MDKT's L_MKD (arXiv 2201.08887, eq. 1), whose directions are each the distillation of Hinton et al. (arXiv
    1503.02531). What teaches gets no gradient, as in deep mutual learning (arXiv 1706.00384): so each direction trains
    one network.

    Args:
        temperature: ``tau``, 10 in VKD (arXiv 2007.04174).
        reduction: "mean" over the batch, as VKD, or "sum". Classes are summed in any case.
        direction: "both"; "t2s", the teacher teaches; "s2t", the student does.
        detach: whether what teaches gets no gradient.
        scale: weight of the loss. By default there is none; 0.1 in VKD.

    Shapes:
        teacher ``[B, Y]`` and student ``[B, Y]``, logits -> scalar, in float32 at least.

    Raises:
        ValueError: an argument is none of these, or the two are of other shapes.
    """

    def __init__(
        self,
        temperature: float = 10.0,
        reduction: str = MEAN,
        direction: str = BOTH,
        detach: bool = True,
        scale: float = 1.0,
    ):
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.reduction = one_of("reduction", reduction, (MEAN, SUM))
        self.direction = one_of("direction", direction, DIRECTIONS)
        self.detach = detach
        self.scale = scale

    def forward(self, teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
        check_batches(teacher, student)
        if teacher.shape != student.shape:
            raise ValueError(
                f"teacher and student must tell the same classes apart, got {teacher.shape[1]} and {student.shape[1]}"
            )
        loss = teacher.new_zeros((), dtype=torch.promote_types(teacher.dtype, torch.float32))
        if self.direction != STUDENT_TO_TEACHER:
            loss = loss + self._taught(teacher, student)
        if self.direction != TEACHER_TO_STUDENT:
            loss = loss + self._taught(student, teacher)
        return loss * self.scale

    def _taught(self, source: torch.Tensor, learner: torch.Tensor) -> torch.Tensor:
        """The divergence of what ``learner`` says from what ``source`` says."""
        log_source = self._log_probabilities(source.detach() if self.detach else source)
        log_ratio = log_source - self._log_probabilities(learner)
        divergence = (log_source.exp() * log_ratio).sum(dim=1) * self.temperature**2
        return divergence.mean() if self.reduction == MEAN else divergence.sum()

    def _log_probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return (logits / self.temperature).log_softmax(dim=1)

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature}, reduction={self.reduction}, direction={self.direction}, "
            f"detach={self.detach}, scale={self.scale}"
        )
