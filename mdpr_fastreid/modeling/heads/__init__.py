"""The heads that turn maps into losses or into the inference vector."""

from mdpr_fastreid.modeling.heads.features import INFERENCE_FEATURES
from mdpr_fastreid.modeling.heads.fusion import FeatureFusion
from mdpr_fastreid.modeling.heads.mdpr_head import MDPRHead

__all__ = ["INFERENCE_FEATURES", "FeatureFusion", "MDPRHead"]
