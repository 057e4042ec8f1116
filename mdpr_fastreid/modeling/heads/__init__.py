"""The heads that turn maps into losses or into the inference vector."""

from mdpr_fastreid.modeling.heads.before_neck import EmbeddingHeadBeforeNeck
from mdpr_fastreid.modeling.heads.fusion import FeatureFusion
from mdpr_fastreid.modeling.heads.mdpr_head import MDPRHead

__all__ = ["EmbeddingHeadBeforeNeck", "FeatureFusion", "MDPRHead"]
