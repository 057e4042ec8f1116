"""timm's backbones (Wightman, Apache-2.0) for MDPR and for FastReID's own architectures; timm is an optional extra."""

from mdpr_fastreid.modeling.backbones.timm_models.backbone import TimmBackbone
from mdpr_fastreid.modeling.backbones.timm_models.build import build_timm_backbone

__all__ = ["TimmBackbone", "build_timm_backbone"]
