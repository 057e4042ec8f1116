"""The losses between a teacher and a student, for the two branches of an MDPR, which have no teacher."""

import torch
from fastreid.config import CfgNode, configurable
from torch import nn

from mdkt.losses.arguments import TEACHER_TO_STUDENT
from mdkt.losses.logits_distillation import MutualLogitsDistillation
from mdkt.losses.triplet_contrast import TripletContrastLoss
from mdpr_fastreid.modeling.losses import DISTILLATION_REGISTRY


@DISTILLATION_REGISTRY.register()
class LogitsBetweenBranches(nn.Module):
    """``mkd`` in ``MODEL.MDPR.DISTILL.KIND``: each branch learns the other's class probabilities.

    Settings are those of ``MODEL.MDKT.BRANCHES.KD``: MDPR's logits are cosines times 64, to which VKD's temperature
    does not belong.

    Args:
        temperature: see :class:`~mdkt.losses.MutualLogitsDistillation`.
        scale: weight of each direction.

    Shapes:
        teacher ``[B, Y]``, student ``[B, Y]``, targets ``[B]`` (not used) -> scalar, of one direction.
    """

    name, takes = "mkd", "logits"

    @configurable
    def __init__(self, *, temperature: float = 16.0, scale: float = 0.1):
        super().__init__()
        self.loss = MutualLogitsDistillation(temperature=temperature, direction=TEACHER_TO_STUDENT, scale=scale)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        kd = cfg.MODEL.MDKT.BRANCHES.KD
        return {"temperature": kd.TEMPERATURE, "scale": kd.SCALE}

    def forward(self, teacher: torch.Tensor, student: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.loss(teacher, student)


@DISTILLATION_REGISTRY.register()
class ContrastBetweenBranches(nn.Module):
    """``tcl`` in ``MODEL.MDPR.DISTILL.KIND``: each branch learns how sure the other is of triplets that that one mines.

    Settings are those of ``MODEL.MDKT.BRANCHES.TCL``.

    Args:
        temperature: see :class:`~mdkt.losses.TripletContrastLoss`.
        normalize: likewise.
        scale: weight of each direction.

    Shapes:
        teacher ``[B, D]``, student ``[B, D]``, targets ``[B]`` -> scalar, of one direction.
    """

    name, takes = "tcl", "embedding"

    @configurable
    def __init__(self, *, temperature: float = 1.0, normalize: bool = False, scale: float = 1.0):
        super().__init__()
        # Called once in each direction with the branch that teaches first: so the source mines
        self.loss = TripletContrastLoss(
            temperature=temperature, normalize=normalize, direction=TEACHER_TO_STUDENT, scale=scale
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        tcl = cfg.MODEL.MDKT.BRANCHES.TCL
        return {"temperature": tcl.TEMPERATURE, "normalize": tcl.NORMALIZE, "scale": tcl.SCALE}

    def forward(self, teacher: torch.Tensor, student: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.loss(teacher, student, targets)
