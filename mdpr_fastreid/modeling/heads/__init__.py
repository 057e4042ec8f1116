"""The heads that turn maps into losses or into the inference vector."""

from mdpr_fastreid.modeling.heads.before_neck import EmbeddingHeadBeforeNeck
from mdpr_fastreid.modeling.heads.fusion import FUSION_REGISTRY, FeatureFusion
from mdpr_fastreid.modeling.heads.mdpr_head import MDPRHead

__all__ = ["FUSION_REGISTRY", "EmbeddingHeadBeforeNeck", "FeatureFusion", "MDPRHead"]
