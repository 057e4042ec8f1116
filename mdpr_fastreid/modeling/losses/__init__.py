"""One loss a file, all in LOSS_REGISTRY, none of which needs MDPR around it."""

from mdpr_fastreid.modeling.losses.attention_area import AttentionAreaLoss
from mdpr_fastreid.modeling.losses.attention_diversity import AttentionDiversityLoss
from mdpr_fastreid.modeling.losses.build import LOSS_REGISTRY, IdentityLosses, build_identity_losses, build_loss
from mdpr_fastreid.modeling.losses.cross_entropy import CrossEntropyLoss
from mdpr_fastreid.modeling.losses.mutual_distillation import MutualDistillationLoss
from mdpr_fastreid.modeling.losses.triplet import TripletLoss

__all__ = [
    "LOSS_REGISTRY",
    "AttentionAreaLoss",
    "AttentionDiversityLoss",
    "CrossEntropyLoss",
    "IdentityLosses",
    "MutualDistillationLoss",
    "TripletLoss",
    "build_identity_losses",
    "build_loss",
]
