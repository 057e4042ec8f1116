"""Losses by which two branches of a network teach each other, by name."""

from collections.abc import Mapping

import torch
from fastreid.config import CfgNode
from torch import nn

from mdpr_fastreid.config.names import NamedRegistry, registered
from mdpr_fastreid.errors import SettingsError

COSINE = "cosine"
"""The kind of the paper, :class:`~mdpr_fastreid.modeling.losses.MutualDistillationLoss`; it has predictors."""

TAUGHT = {"logits": "pred_class_logits", "embedding": "features"}
"""What a loss between branches can take, and what FastReID's heads call it in their outputs."""


DISTILLATION_REGISTRY = NamedRegistry("DISTILLATION")
DISTILLATION_REGISTRY.__doc__ = """
Losses by the name that ``MODEL.MDPR.DISTILL.KIND`` gives them: the class attribute ``name``, or the class's own.

Each is built as those of ``LOSS_REGISTRY`` are and called ``loss(teacher, student, targets)``, once in each direction,
the teacher as a fixed target. One with ``symmetric = True`` is called once, and both branches get its gradients.
``takes`` says what it is called with: ``"logits"`` (``[B, classes]``, without margin) or ``"embedding"`` (``[B, D]``).
"""


class BranchLosses(nn.ModuleDict):
    """Losses between the outputs of two identity heads, by the name they are registered with.

    Args:
        modules: see ``DISTILLATION_REGISTRY``.
        scale: weight of all of them.
    """

    def __init__(self, modules: Mapping[str, nn.Module], scale: float = 1.0):
        super().__init__(modules)
        self.scale = scale

    def forward(
        self, first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor], targets: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Scalar losses by name, those of both directions added.

        Args:
            first: of one of FastReID's heads in training: ``pred_class_logits`` ``[B, classes]``, ``features``
                ``[B, D]``.
            second: of another.
            targets: ``[B]`` identity labels.
        """
        losses = {}
        for name, loss in self.items():
            one, other = first[TAUGHT[loss.takes]], second[TAUGHT[loss.takes]]
            if getattr(loss, "symmetric", False):
                total = loss(one, other, targets)
            else:
                total = loss(one.detach(), other, targets) + loss(other.detach(), one, targets)
            losses[name] = total * self.scale
        return losses

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


def build_branch_losses(cfg: CfgNode) -> BranchLosses | None:
    """The losses of ``MODEL.MDPR.DISTILL.KIND`` but :data:`COSINE`; None if there are none.

    Raises:
        SettingsError: a loss does not say that it takes one of ``TAUGHT``.
        UnknownNameError: no loss of that name is registered; the message has the nearest that is.
    """
    distill, losses = cfg.MODEL.MDPR.DISTILL, {}
    for name in distill.KIND.split("+"):
        if name == COSINE:
            continue
        losses[name] = loss = registered(DISTILLATION_REGISTRY, name)(cfg)
        takes = getattr(loss, "takes", None)
        if takes not in TAUGHT:
            says = f"takes {takes!r}" if takes else "does not say in `takes` what it takes"
            gives = " or ".join(map(repr, TAUGHT))
            raise SettingsError(f"MODEL.MDPR.DISTILL.KIND: {name} {says}, and a branch gives {gives}")
    return BranchLosses(losses, distill.SCALE) if losses else None
