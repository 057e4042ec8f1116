"""Meta-architectures, in FastReID's META_ARCH_REGISTRY."""

from mdpr_fastreid.modeling.meta_arch.distillation import DistillableMDPR, MDPRDistiller
from mdpr_fastreid.modeling.meta_arch.mdpr import MDPR

__all__ = ["MDPR", "DistillableMDPR", "MDPRDistiller"]
