"""The two perspectives on a person: a branch takes feature maps and returns named maps, in any meta-architecture."""

from mdpr_fastreid.modeling.branches.hard_content import HardContent, HardContentBranch
from mdpr_fastreid.modeling.branches.perspectives import Perspectives
from mdpr_fastreid.modeling.branches.soft_content import AttentionMaps, PooledAttention, SoftContent, SoftContentBranch

__all__ = [
    "AttentionMaps",
    "HardContent",
    "HardContentBranch",
    "Perspectives",
    "PooledAttention",
    "SoftContent",
    "SoftContentBranch",
]
