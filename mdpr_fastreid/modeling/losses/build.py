"""The registry of losses, of the same kind as FastReID's own registries, and how a head builds and calls them."""

from collections.abc import Collection, Mapping

import torch
from fastreid.config import CfgNode
from fastreid.utils.registry import Registry
from torch import nn

from mdpr_fastreid.config.names import registered
from mdpr_fastreid.errors import SettingsError

LOSS_REGISTRY = Registry("LOSS")
LOSS_REGISTRY.__doc__ = """
Losses by name. A registered class is an ``nn.Module`` whose ``from_config(cfg)`` gives its constructor's
arguments; it can be built without a config as well.

One that ``MODEL.LOSSES.NAME`` may list says in ``takes`` what it is called with beside the targets ``[B]``:
``"logits"`` (``[B, classes]``, margin applied) or ``"embedding"`` (``[B, D]``).
"""

FED_BY = {"logits": "cls_outputs", "embedding": "features"}
"""What a loss can take, and what FastReID's heads call it in their outputs."""

_LOGGED = {"CrossEntropyLoss": "cls", "TripletLoss": "triplet"}
"""The short names FastReID logs its own losses with; any other loss is logged under its class name."""


def build_loss(name: str, cfg: CfgNode) -> nn.Module:
    """The loss ``name`` with the settings of ``cfg``.

    Raises:
        UnknownNameError: no loss of that name is registered; the message has the nearest that is.
    """
    return registered(LOSS_REGISTRY, name)(cfg)


def build_identity_losses(cfg: CfgNode, feeds: Collection[str] = tuple(FED_BY)) -> "IdentityLosses":
    """The losses of ``MODEL.LOSSES.NAME``, for any head.

    Args:
        cfg: a run's config.
        feeds: of ``"logits"`` and ``"embedding"``, what the head gives.

    Raises:
        SettingsError: a loss does not say that it takes one of these.
        UnknownNameError: as :func:`build_loss`.
    """
    losses = {}
    for name in cfg.MODEL.LOSSES.NAME:
        loss = build_loss(name, cfg)
        takes = getattr(loss, "takes", None)
        if takes not in feeds:
            says = f"takes {takes!r}" if takes else "does not say in `takes` what it takes"
            gives = " and ".join(map(repr, feeds))
            raise SettingsError(f"MODEL.LOSSES.NAME: {name} {says}, and the head {cfg.MODEL.HEADS.NAME} gives {gives}")
        losses[_LOGGED.get(name, name)] = loss
    return IdentityLosses(losses)


class IdentityLosses(nn.ModuleDict):
    """Losses on the outputs of an identity head, by the name they are logged with.

    Args:
        modules: each says in ``takes`` what it is called with, see ``LOSS_REGISTRY``.
    """

    def forward(
        self, output: Mapping[str, torch.Tensor], targets: torch.Tensor, takes: Collection[str] = tuple(FED_BY)
    ) -> dict[str, torch.Tensor]:
        """Scalar losses by name.

        Args:
            output: of one of FastReID's heads in training: ``cls_outputs`` ``[B, classes]``, ``features`` ``[B, D]``.
            targets: ``[B]`` identity labels.
            takes: the losses that take something else are left out.
        """
        return {name: loss(output[FED_BY[loss.takes]], targets) for name, loss in self.items() if loss.takes in takes}
