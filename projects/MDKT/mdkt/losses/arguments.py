"""What the losses accept: names of their options, and tensors that go together."""

import torch

BOTH, TEACHER_TO_STUDENT, STUDENT_TO_TEACHER = "both", "t2s", "s2t"
DIRECTIONS = (BOTH, TEACHER_TO_STUDENT, STUDENT_TO_TEACHER)
MEAN, SUM = "mean", "sum"


def one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    """The value, if it is one of the choices.

    Raises:
        ValueError: it is not; the message names the argument and what it accepts.
    """
    if value not in choices:
        raise ValueError(f"{name} must be {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}, got {value!r}")
    return value


def positive(name: str, value: float) -> float:
    """The value, if it is greater than 0.

    Raises:
        ValueError: it is not.
    """
    if not value > 0:
        raise ValueError(f"{name} must be greater than 0, got {value!r}")
    return value


def check_batches(teacher: torch.Tensor, student: torch.Tensor, targets: torch.Tensor | None = None) -> None:
    """Refuse what two networks cannot have given of one batch.

    Raises:
        ValueError: not ``[B, C_t]``, ``[B, C_s]`` and ``[B]``, or there is no sample.
    """
    if teacher.dim() != 2 or student.dim() != 2 or len(teacher) != len(student):
        raise ValueError(
            f"teacher and student must be [B, C] of the same samples, got {list(teacher.shape)} and "
            f"{list(student.shape)}"
        )
    if not len(teacher):
        raise ValueError("the batch has no sample")
    if targets is not None and targets.shape != teacher.shape[:1]:
        raise ValueError(f"targets must be [B], one for each of {len(teacher)} samples, got {list(targets.shape)}")
