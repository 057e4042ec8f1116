"""Where the stages of each of FastReID's backbones begin and end."""

from collections import OrderedDict
from typing import NamedTuple

from fastreid.modeling.backbones.osnet import OSNet
from fastreid.modeling.backbones.regnet.regnet import AnyNet
from fastreid.modeling.backbones.repvgg import RepVGG
from fastreid.modeling.backbones.resnest import ResNeSt
from fastreid.modeling.backbones.resnet import ResNet
from fastreid.modeling.backbones.resnext import ResNeXt
from torch import nn

from mdpr_fastreid.errors import SettingsError

# The children that make up: stem with stages 1 and 2, stage 3, stage 4.
_CHILDREN: dict[type[nn.Module], tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    ResNet: (("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"), ("layer3",), ("layer4",)),
    ResNeSt: (("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"), ("layer3",), ("layer4",)),
    ResNeXt: (("conv1", "bn1", "relu", "maxpool1", "layer1", "layer2"), ("layer3",), ("layer4",)),
    OSNet: (("conv1", "maxpool", "conv2", "conv3"), ("conv4",), ("conv5",)),
    AnyNet: (("stem", "s1", "s2"), ("s3",), ("s4",)),
    RepVGG: (("stage0", "stage1", "stage2"), ("stage3",), ("stage4",)),
}


class BackboneStages(NamedTuple):
    """A backbone in three pieces that run one after the other."""

    trunk: nn.Module
    """Stem, stage 1 and stage 2."""
    stage3: nn.Module
    stage4: nn.Module


def split_stages(backbone: nn.Module) -> BackboneStages:
    """Cut one of FastReID's backbones behind its second and its third stage.

    The pieces are the backbone's own modules, with their weights; run in order they compute what it does.

    Raises:
        SettingsError: the backbone has no stem and four stages; the message lists those that have.
    """
    for kind, pieces in _CHILDREN.items():
        if isinstance(backbone, kind):
            trunk, stage3, stage4 = ([(name, _with_non_local(backbone, name)) for name in names] for names in pieces)
            return BackboneStages(nn.Sequential(OrderedDict(trunk)), stage3[0][1], stage4[0][1])
    raise SettingsError(
        f"MDPR needs a backbone with a stem and four stages, and {type(backbone).__name__} has none. "
        "Set MODEL.BACKBONE.NAME to the builder of one of: " + ", ".join(_NAMES[kind] for kind in _CHILDREN) + "."
    )


_NAMES = {
    ResNet: "ResNet (build_resnet_backbone)",
    ResNeSt: "ResNeSt (build_resnest_backbone)",
    ResNeXt: "ResNeXt (build_resnext_backbone)",
    OSNet: "OSNet (build_osnet_backbone)",
    AnyNet: "RegNet (build_regnet_backbone)",
    RepVGG: "RepVGG (build_repvgg_backbone)",
}


def _with_non_local(backbone: nn.Module, name: str) -> nn.Module:
    """The child, the non-local blocks that ResNet and ResNeXt keep beside ``layerN`` put back between its blocks."""
    child = getattr(backbone, name)
    after = getattr(backbone, f"NL_{name[-1]}_idx", []) if name.startswith("layer") else []
    # A backbone that has run once marks "no non-local block" with the index -1.
    after = [index for index in after if index >= 0]
    if not after:
        return child
    blocks: list[tuple[str, nn.Module]] = []
    non_local = iter(getattr(backbone, f"NL_{name[-1]}"))
    for index, block in enumerate(child):
        blocks.append((str(index), block))
        if index in after:
            blocks.append((f"non_local{index}", next(non_local)))
    return nn.Sequential(OrderedDict(blocks))
