"""FastReID's backbones, cut into the stages that MDPR shares and copies."""

from mdpr_fastreid.modeling.backbones.branched import BranchedBackbone, Stages
from mdpr_fastreid.modeling.backbones.stages import BackboneStages, split_stages

__all__ = ["BackboneStages", "BranchedBackbone", "Stages", "split_stages"]
