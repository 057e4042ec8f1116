"""From stage 1 to stage 2: one checkpoint becomes the teacher and, but for what is reset, the student."""

import logging
from collections.abc import Collection

import torch
from fastreid.utils.file_io import PathManager
from torch import nn

from mdkt.config import HEAD, LAYER4
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import Fit, fit_to, read_checkpoint

_RESET = {LAYER4: "backbone.layer4.", HEAD: "heads."}
"""Names of weights begin with this."""
_CLASSIFIER = "heads.classifier.weight"


def hand_over(path: str, teacher: nn.Module, student: nn.Module, reset: Collection[str]) -> None:
    """Start both networks from stage 1, in place (VKD, arXiv 2007.04174).

    What is reset stays in the student as it was built: with the pretrained weights and statistics, if it has any, else
    freshly initialised. A student of another architecture stays as it is.

    Args:
        path: the checkpoint of stage 1.
        teacher: takes over all of it.
        student: just built.
        reset: of "layer4", stage 4 of the backbone, and "head", neck and classifier.

    Raises:
        UsageError: the file cannot be read, has other identities, or does not fit the teacher.
    """
    fit = _whole_fit(path, teacher)
    teacher.load_state_dict(fit.taken, strict=False)
    logger = logging.getLogger("fastreid")
    if not same_shapes(teacher, student):
        logger.info(f"{path}: for the teacher alone; the student has another architecture and starts as it was built")
        return
    kept = tuple(_RESET[name] for name in reset)
    taken = {name: value for name, value in fit.taken.items() if not name.startswith(kept)}
    student.load_state_dict(taken, strict=False)
    logger.info(f"{path}: for the teacher, and the student but for {', '.join(reset) or 'nothing'}")


def _whole_fit(path: str, teacher: nn.Module) -> Fit:
    state_dict = read_checkpoint(PathManager.get_local_path(path))["model"]
    if any(name.startswith("student.") for name in state_dict):
        raise UsageError(
            f"{path}: is a checkpoint of stage 2, with a teacher and a student: name that of stage 1, or take the "
            "student out by projects/MDKT/export_student.py"
        )
    fit = fit_to(teacher, state_dict)
    if _CLASSIFIER in fit.other_shapes:
        (given, width), (needed, own_width) = fit.other_shapes[_CLASSIFIER]
        if width == own_width:
            raise UsageError(
                f"{path}: a teacher of {given} identities, and this training set has {needed}: stage 1 has to be "
                "trained on the same identities (DATASETS.NAMES)"
            )
    wrong = [*fit.missing, *fit.other_shapes]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UsageError(
            f"{path} ({fit.recognised.kind}) does not fit the teacher, which needs {', '.join(wrong[:3])}{more} "
            "(missing, or of another shape): name in MODEL.MDKT.TEACHER_CONFIG the config it was trained with"
        )
    return fit


def same_shapes(teacher: nn.Module, student: nn.Module) -> bool:
    """Whether a checkpoint that fits the one fits the other."""
    return _shapes(teacher) == _shapes(student)


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


def student_weights(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The student's own weights in a state dict of MDKT, under the names that its architecture has alone.

    Raises:
        UsageError: there is no student in it.
    """
    own = {name.removeprefix("student."): value for name, value in state_dict.items() if name.startswith("student.")}
    if not own:
        raise UsageError("no weights of a student: give a checkpoint of stage 2")
    return own
