"""One loss a file, all in LOSS_REGISTRY, none of which needs MDPR around it; and how losses are built and called."""

from mdpr_fastreid.modeling.losses.attention_area import AttentionAreaLoss
from mdpr_fastreid.modeling.losses.attention_diversity import AttentionDiversityLoss
from mdpr_fastreid.modeling.losses.between_branches import (
    COSINE,
    DISTILLATION_REGISTRY,
    BranchLosses,
    build_branch_losses,
)
from mdpr_fastreid.modeling.losses.build import LOSS_REGISTRY, IdentityLosses, build_identity_losses, build_loss
from mdpr_fastreid.modeling.losses.cross_entropy import CrossEntropyLoss
from mdpr_fastreid.modeling.losses.mutual_distillation import MutualDistillationLoss
from mdpr_fastreid.modeling.losses.triplet import TripletLoss

__all__ = [
    "COSINE",
    "DISTILLATION_REGISTRY",
    "LOSS_REGISTRY",
    "AttentionAreaLoss",
    "AttentionDiversityLoss",
    "BranchLosses",
    "CrossEntropyLoss",
    "IdentityLosses",
    "MutualDistillationLoss",
    "TripletLoss",
    "build_branch_losses",
    "build_identity_losses",
    "build_loss",
]
