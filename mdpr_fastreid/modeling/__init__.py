"""The method: importing it registers meta-architectures, head and losses."""

from mdpr_fastreid.modeling.backbones.image_sizes import image_sizes
from mdpr_fastreid.modeling.build import build_model
from mdpr_fastreid.modeling.fitting import map_channels
from mdpr_fastreid.modeling.heads import MDPRHead
from mdpr_fastreid.modeling.losses import LOSS_REGISTRY, build_identity_losses, build_loss
from mdpr_fastreid.modeling.meta_arch import MDPR

__all__ = [
    "LOSS_REGISTRY",
    "MDPR",
    "MDPRHead",
    "build_identity_losses",
    "build_loss",
    "build_model",
    "image_sizes",
    "map_channels",
]
