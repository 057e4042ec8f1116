"""FastReID's backbones, started from weights of any kind, and cut into the stages that MDPR shares and copies."""

from mdpr_fastreid.modeling.backbones.branched import BranchedBackbone, StageMaps, Stages
from mdpr_fastreid.modeling.backbones.build import build_backbone
from mdpr_fastreid.modeling.backbones.stages import BackboneStages, split_stages

__all__ = ["BackboneStages", "BranchedBackbone", "StageMaps", "Stages", "build_backbone", "split_stages"]
