"""FastReID's backbones, started from weights of any kind, cut into stages, or with the maps behind each stage."""

from mdpr_fastreid.modeling.backbones.branched import BranchedBackbone, StageMaps, Stages
from mdpr_fastreid.modeling.backbones.build import build_backbone
from mdpr_fastreid.modeling.backbones.depths import parameter_depths
from mdpr_fastreid.modeling.backbones.stages import BackboneStages, map_shapes, split_stages, stage_outputs
from mdpr_fastreid.modeling.backbones.timm_models import TimmBackbone, build_timm_backbone

__all__ = [
    "BackboneStages",
    "BranchedBackbone",
    "StageMaps",
    "Stages",
    "TimmBackbone",
    "build_backbone",
    "build_timm_backbone",
    "map_shapes",
    "parameter_depths",
    "split_stages",
    "stage_outputs",
]
