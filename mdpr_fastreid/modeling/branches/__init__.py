"""The two perspectives on a person. A branch takes feature maps and returns named maps; it knows no meta-architecture."""

from mdpr_fastreid.modeling.branches.hard_content import HardContent, HardContentBranch
from mdpr_fastreid.modeling.branches.soft_content import AttentionMaps, PooledAttention, SoftContent, SoftContentBranch

__all__ = [
    "AttentionMaps",
    "HardContent",
    "HardContentBranch",
    "PooledAttention",
    "SoftContent",
    "SoftContentBranch",
]
