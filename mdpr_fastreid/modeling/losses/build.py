"""The registry of losses, of the same kind as FastReID's own registries."""

from fastreid.config import CfgNode
from fastreid.utils.registry import Registry
from torch import nn

LOSS_REGISTRY = Registry("LOSS")
LOSS_REGISTRY.__doc__ = """
Losses by name. A registered class is an ``nn.Module`` whose ``from_config(cfg)`` gives its constructor's
arguments; it can be built without a config as well.

One that ``MODEL.LOSSES.NAME`` may list says in ``takes`` what it is called with beside the targets ``[B]``:
``"logits"`` (``[B, classes]``, margin applied) or ``"embedding"`` (``[B, D]``).
"""


def build_loss(name: str, cfg: CfgNode) -> nn.Module:
    """The loss ``name`` with the settings of ``cfg``.

    Raises:
        KeyError: no loss of that name is registered; the message has the nearest that is.
    """
    return LOSS_REGISTRY.get(name)(cfg)
