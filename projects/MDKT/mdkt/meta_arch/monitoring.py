"""What a training of stage 2 is judged by: raw losses, how sure both networks are, and what moves the student."""

from collections.abc import Mapping

import torch
from fastreid.utils.events import EventStorage

from mdkt.heads import ClipReadings
from mdkt.losses import TripletContrastLoss
from mdpr_fastreid.modeling.event_storage import current_storage, log_accuracy

GRADIENT_STEPS = 100
"""For so many steps the gradient of every loss is measured."""

_SATURATED = 0.99


@torch.no_grad()
def log_step(
    losses: Mapping[str, torch.Tensor],
    weights: Mapping[str, float],
    teacher: ClipReadings | None,
    student: ClipReadings,
    targets: torch.Tensor,
    contrast_loss: TripletContrastLoss | None,
) -> None:
    """Put beside the losses of a step, into FastReID's event storage:

    * ``raw_mkd`` and so on: each loss before its weight;
    * ``p_teacher_median``, ``p_teacher_05``, ``p_teacher_95``, the same of ``p_student``, and ``p_teacher_saturated``,
      the share of anchors above 0.99: how sure the networks are of the triplets, if there is a contrast loss;
    * ``gradient_mkd`` and so on, in the first steps: how strongly each loss moves the student's embedding, see
      :func:`gradient_norms`.

    Nothing is put where no such storage is in use, nor where the model runs without gradients (precise BN).

    Args:
        losses: of the step, with their weights.
        weights: of those losses of which it is known.
        teacher: what it read, if it was asked.
        student: what it read.
        targets: ``[B]``.
        contrast_loss: as the model has it.
    """
    storage = current_storage()
    if storage is None or not student.frames.requires_grad:
        return
    log_accuracy(student.logits, targets)
    for name, weight in weights.items():
        if name in losses:
            storage.put_scalar(f"raw_{_short(name)}", losses[name].detach() / weight)
    if contrast_loss is not None:
        _log_probabilities(storage, contrast_loss, teacher, student, targets)
    if storage.iter < GRADIENT_STEPS:
        for name, norm in gradient_norms(losses, student.frames).items():
            storage.put_scalar(f"gradient_{_short(name)}", norm)


def gradient_norms(losses: Mapping[str, torch.Tensor], frames: torch.Tensor) -> dict[str, torch.Tensor]:
    """``sqrt(M)`` times the norm of the gradient of each loss on features ``[B, M, C]``: of a loss on their mean, that
    of its gradient on the mean. Losses that do not read them are left out.
    """
    norms = {}
    for name, loss in losses.items():
        if not loss.requires_grad:
            continue
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss, frames, retain_graph=True, allow_unused=True)
        if gradient is not None:
            norms[name] = gradient.float().norm() * frames.shape[1] ** 0.5
    return norms


def _log_probabilities(
    storage: EventStorage,
    loss: TripletContrastLoss,
    teacher: ClipReadings,
    student: ClipReadings,
    targets: torch.Tensor,
) -> None:
    sure = loss.probabilities(teacher.embedding, student.embedding, targets)
    for who, p in (("teacher", sure.teacher), ("student", sure.student)):
        # A batch without a triplet has no quantiles
        known = p.masked_fill(~sure.valid, torch.nan)
        quantiles = known.nanquantile(p.new_tensor([0.5, 0.05, 0.95])).nan_to_num(0)
        for kind, value in zip(("median", "05", "95"), quantiles.unbind(), strict=True):
            storage.put_scalar(f"p_{who}_{kind}", value)
    saturated = (sure.valid & (sure.teacher > _SATURATED)).sum() / sure.valid.sum().clamp_min(1)
    storage.put_scalar("p_teacher_saturated", saturated)


def _short(name: str) -> str:
    return name.removeprefix("loss_")
