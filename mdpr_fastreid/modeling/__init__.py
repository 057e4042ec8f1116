"""The method: importing it registers meta-architecture, head and losses."""

from mdpr_fastreid.modeling.heads import MDPRHead
from mdpr_fastreid.modeling.losses import LOSS_REGISTRY, build_loss
from mdpr_fastreid.modeling.meta_arch import MDPR

__all__ = ["LOSS_REGISTRY", "MDPR", "MDPRHead", "build_loss"]
