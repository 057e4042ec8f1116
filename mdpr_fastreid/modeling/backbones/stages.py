"""Where the stages of each of FastReID's backbones begin and end: to cut one, or to see the maps behind each stage."""

import copy
from collections import OrderedDict
from typing import NamedTuple

import torch
from fastreid.modeling.backbones.osnet import OSNet
from fastreid.modeling.backbones.regnet.regnet import AnyNet
from fastreid.modeling.backbones.repvgg import RepVGG
from fastreid.modeling.backbones.resnest import ResNeSt
from fastreid.modeling.backbones.resnet import ResNet
from fastreid.modeling.backbones.resnext import ResNeXt
from torch import nn

from mdpr_fastreid.errors import SettingsError


class _Family(NamedTuple):
    """Backbones of one class."""

    title: str
    """With the builder, as an error names it."""
    stem: tuple[str, ...]
    """The children before stage 1, in order."""
    stages: tuple[str, str, str, str]
    """The child that is each stage."""


_LAYERS = ("layer1", "layer2", "layer3", "layer4")
_FAMILIES: dict[type[nn.Module], _Family] = {
    ResNet: _Family("ResNet (build_resnet_backbone)", ("conv1", "bn1", "relu", "maxpool"), _LAYERS),
    ResNeSt: _Family("ResNeSt (build_resnest_backbone)", ("conv1", "bn1", "relu", "maxpool"), _LAYERS),
    ResNeXt: _Family("ResNeXt (build_resnext_backbone)", ("conv1", "bn1", "relu", "maxpool1"), _LAYERS),
    OSNet: _Family("OSNet (build_osnet_backbone)", ("conv1", "maxpool"), ("conv2", "conv3", "conv4", "conv5")),
    AnyNet: _Family("RegNet (build_regnet_backbone)", ("stem",), ("s1", "s2", "s3", "s4")),
    RepVGG: _Family("RepVGG (build_repvgg_backbone)", ("stage0",), ("stage1", "stage2", "stage3", "stage4")),
}


class BackboneStages(NamedTuple):
    """A backbone in three pieces that run one after the other, and what makes maps of what the last two give.

    Each is a module of one tensor. Between the pieces a backbone keeps its own layout (tokens, channels last) and
    scale; only a view normalises.
    """

    trunk: nn.Module
    """Images ``[B, 3, H, W]`` to what stage 2 gives."""
    stage3: nn.Module
    stage4: nn.Module
    view3: nn.Module
    """What stage 3 gives -> ``[B, C3, h, w]``."""
    view4: nn.Module
    """What stage 4 gives -> ``[B, C4, h, w]``."""


def split_stages(backbone: nn.Module) -> BackboneStages:
    """Cut a backbone behind its second and its third stage.

    The pieces are the backbone's own modules, with their weights; run in order they compute what it does.

    Args:
        backbone: one of FastReID's with a stem and four stages, or one with a method ``cut()`` that returns its pieces.

    Raises:
        SettingsError: the backbone has no stem and four stages; the message lists those that have.
    """
    own = getattr(backbone, "cut", None)
    if own is not None:
        return own()
    family = _family_of(backbone)
    trunk = [(name, _with_non_local(backbone, name)) for name in (*family.stem, *family.stages[:2])]
    stage3, stage4 = (_with_non_local(backbone, name) for name in family.stages[2:])
    return BackboneStages(nn.Sequential(OrderedDict(trunk)), stage3, stage4, nn.Identity(), nn.Identity())


def stage_outputs(backbone: nn.Module) -> nn.Module:
    """What gives the maps behind all four stages of a backbone, instead of the last one alone.

    It has the backbone's own modules under their own names: state dicts, pretrained weights and
    ``MODEL.FREEZE_LAYERS`` fit as they fit the backbone, whose place it takes.

    Args:
        backbone: one of FastReID's with a stem and four stages, or one with a method ``stage_outputs()`` that returns
            such a module.

    Returns:
        A module: images ``[B, 3, H, W]`` -> ``[S1, S2, S3, S4]``, each ``[B, C_i, h_i, w_i]``; non-local blocks are in
        their stages, and ``S4`` is what the backbone gives.

    Raises:
        SettingsError: the backbone has no stem and four stages; the message lists those that have.
    """
    own = getattr(backbone, "stage_outputs", None)
    return own() if own is not None else StageOutputs(backbone, _family_of(backbone))


def map_shapes(stages: nn.Module, image_size: tuple[int, int]) -> list[torch.Size]:
    """``[C, h, w]`` of each map that :func:`stage_outputs` gives of an image, found without computing anything.

    Args:
        stages: as :func:`stage_outputs` returned it; stays as it is.
        image_size: height and width of the image.
    """
    shapes_only = copy.deepcopy(stages).to("meta").eval()
    with torch.no_grad():
        return [features.shape[1:] for features in shapes_only(torch.empty(1, 3, *image_size, device="meta"))]


class StageOutputs(nn.Module):
    """The maps behind the stages of a backbone; see :func:`stage_outputs`.

    Args:
        backbone: whose children it takes over, with their names.
        family: which of them are the stem and the stages.
    """

    def __init__(self, backbone: nn.Module, family: _Family):
        super().__init__()
        for name, child in backbone.named_children():
            self.add_module(name, child)
        stages = [_blocks(backbone, name) for name in family.stages]
        # By their paths: folding replaces modules
        self._paths = [[*family.stem, *stages[0].values()], *(list(stage.values()) for stage in stages[1:])]

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """``[B, 3, H, W]`` -> ``[S1, S2, S3, S4]``."""
        features, maps = images, []
        for paths in self._paths:
            for path in paths:
                features = self.get_submodule(path)(features)
            maps.append(features)
        return maps


def blocks_in_order(backbone: nn.Module) -> tuple[tuple[str, ...], list[str]] | None:
    """What the names of parameters begin with: of the stem, and of each block of the four stages, in order.

    Returns:
        None for a backbone that is none of FastReID's with a stem and four stages.
    """
    family = _known_family(backbone)
    if family is None:
        return None
    paths = []
    for stage in family.stages:
        blocks = list(_blocks(backbone, stage).values())
        children = dict(backbone.get_submodule(stage).named_children())
        # Without non-local blocks a stage is one path; OSNet's last one is a convolution and no list of blocks
        if blocks == [stage] and all(any(child.children()) for child in children.values()):
            blocks = [f"{stage}.{name}" for name in children]
        paths += blocks
    return tuple(f"{child}." for child in family.stem), [f"{path}." for path in paths]


def _known_family(backbone: nn.Module) -> _Family | None:
    return next((family for kind, family in _FAMILIES.items() if isinstance(backbone, kind)), None)


def _family_of(backbone: nn.Module) -> _Family:
    family = _known_family(backbone)
    if family is not None:
        return family
    raise SettingsError(
        f"the method needs a backbone with a stem and four stages, and {type(backbone).__name__} has none. "
        "Set MODEL.BACKBONE.NAME to the builder of one of: " + ", ".join(one.title for one in _FAMILIES.values()) + ", "
        "or of timm's (build_timm_backbone)."
    )


def _blocks(backbone: nn.Module, child: str) -> dict[str, str]:
    """Paths of what a child runs, in order, by names for it: itself, or its blocks with the non-local ones between.

    ResNet and ResNeXt keep the non-local blocks of ``layerN`` beside it, in ``NL_N``, and their places in ``NL_N_idx``.
    """
    number = child[-1]
    places = getattr(backbone, f"NL_{number}_idx", []) if child.startswith("layer") else []
    # A backbone that has run once marks "no non-local block" with the index -1.
    places = [place for place in places if place >= 0]
    if not places:
        return {child: child}
    blocks = {}
    for index in range(len(getattr(backbone, child))):
        blocks[str(index)] = f"{child}.{index}"
        if index in places:
            blocks[f"non_local{index}"] = f"NL_{number}.{places.index(index)}"
    return blocks


def _with_non_local(backbone: nn.Module, child: str) -> nn.Module:
    """The child, with its non-local blocks between its blocks."""
    blocks = _blocks(backbone, child)
    if list(blocks) == [child]:
        return getattr(backbone, child)
    return nn.Sequential(OrderedDict((name, backbone.get_submodule(path)) for name, path in blocks.items()))
