"""HRNet, a backbone that keeps a high resolution from the first stage to the last (arXiv 1908.07919)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.layers import get_norm
from fastreid.layers.weight_init import weights_init_kaiming
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.backbones.resnet import BasicBlock, Bottleneck
from torch import nn

from drop.layers.reid_map import ALL, LAST, ReIDMap
from mdpr_fastreid.errors import SettingsError, UsageError

_BLOCKS = 4
"""Residual blocks of the first stage, and of every branch of an exchange module."""
_MODULES = {2: 1, 3: 4, 4: 3}
"""Exchange modules of a stage; stage ``n`` has ``n`` branches."""


class HRNetStages(nn.Module):
    """HRNet up to its four maps, one of each branch.

    Args:
        layers: by name, of :class:`HRNet`.

    Shapes:
        ``[B, 3, H, W]`` -> ``[B, 128, H/4, W/4]``, ``[B, 256, H/8, W/8]``, ``[B, 512, H/16, W/16]``,
        ``[B, 1024, H/32, W/32]``, rounded up.
    """

    def __init__(self, layers: Mapping[str, nn.Module]):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        features = self.relu(self.bn1(self.conv1(images)))
        branches = [self.layer1(self.relu(self.bn2(self.conv2(features))))]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            # The branch that a stage begins reads the coarsest one before it
            branches = stage([step(branches[min(i, len(branches) - 1)]) for i, step in enumerate(transition)])
        return [increase(branches[i]) for i, increase in enumerate(self.incre_modules)]


class HRNet(HRNetStages):
    """HRNet for images, with the names of its authors' weights for ImageNet classification.

    What these have behind the maps (``downsamp_modules``, ``final_layer``, ``classifier``) joins the maps for
    classification and is left out. Maps of any size are brought together by size, not by factor.

    Args:
        reid_map: how :class:`~drop.layers.reid_map.ReIDMap` makes one map of the four.
        width: channels of the first branch; each other one has twice as many as the one before.
        norm: FastReID's name of the batch norm.

    Shapes:
        ``[B, 3, H, W]`` -> ``[B, C, h, w]``; ``all`` gives 1920 channels at a sixteenth of the image's size.
    """

    def __init__(self, reid_map: str = ALL, width: int = 32, norm: str = "BN"):
        widths = [width * 2**i for i in range(4)]
        super().__init__(
            {
                "conv1": nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False),
                "bn1": get_norm(norm, 64),
                "conv2": nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False),
                "bn2": get_norm(norm, 64),
                "relu": nn.ReLU(inplace=True),
                "layer1": _residual(Bottleneck, 64, 64, norm),
                **_stage(2, [256], widths, norm),
                **_stage(3, widths[:2], widths, norm),
                **_stage(4, widths[:3], widths, norm),
                "incre_modules": nn.ModuleList(
                    _residual(Bottleneck, channels, 32 * 2**i, norm, blocks=1) for i, channels in enumerate(widths)
                ),
            }
        )
        self.apply(weights_init_kaiming)
        self.reid_map = ReIDMap(reid_map)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.reid_map(super().forward(images))

    def stage_outputs(self) -> HRNetStages:
        """The same layers, which give the four maps."""
        return HRNetStages({name: layer for name, layer in self.named_children() if name != "reid_map"})


@BACKBONE_REGISTRY.register()
def build_hrnet_backbone(cfg: CfgNode) -> HRNet:
    """HRNet-W32; its weights are loaded by :func:`mdpr_fastreid.modeling.backbones.build_backbone`.

    The authors' file is ``hrnetv2_w32_imagenet_pretrained.pth``; it is a download of the user's own.

    Raises:
        SettingsError: the finer maps would be used by nothing, so that their last layers would get no gradient, which
            DistributedDataParallel takes for an error.
        UsageError: ``MODEL.BACKBONE.PRETRAIN`` without a path.
    """
    options, drop = cfg.MODEL.BACKBONE, cfg.MODEL.DROP
    upsampled = cfg.MODEL.META_ARCHITECTURE == "DROP" and drop.DPU.ENABLED
    if drop.REID_MAP == LAST and not upsampled:
        raise SettingsError(
            f"{options.NAME} gives four maps, of which MODEL.DROP.REID_MAP last uses one without MODEL.DROP.DPU: set "
            "MODEL.DROP.REID_MAP all"
        )
    if options.PRETRAIN:
        raise UsageError(
            f"{options.NAME} fetches no weights: give the path of hrnetv2_w32_imagenet_pretrained.pth in "
            "MODEL.BACKBONE.PRETRAIN_PATH, or set MODEL.BACKBONE.PRETRAIN False"
        )
    return HRNet(drop.REID_MAP, norm=options.NORM)


class ExchangeModule(nn.Module):
    """Residual blocks on every branch, then every branch gets the sum of all, brought to its size.

    Args:
        widths: channels of the branches; each has half the height and width of the one before.
        norm: FastReID's name of the batch norm.

    Shapes:
        maps ``[B, widths[i], h_i, w_i]`` -> the same.
    """

    def __init__(self, widths: list[int], norm: str):
        super().__init__()
        self.branches = nn.ModuleList(_residual(BasicBlock, channels, channels, norm) for channels in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(widths, source, target, norm) for source in range(len(widths)))
            for target in range(len(widths))
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        maps = [branch(maps[i]) for i, branch in enumerate(self.branches)]
        return [self._fused(maps, target) for target in range(len(self.branches))]

    def _fused(self, maps: list[torch.Tensor], target: int) -> torch.Tensor:
        total = maps[target]
        for source, layer in enumerate(self.fuse_layers[target]):
            if source < target:
                total = total + layer(maps[source])
            elif source > target:
                total = total + F.interpolate(layer(maps[source]), size=maps[target].shape[2:], mode="nearest")
        return self.relu(total)


def _stage(number: int, before: list[int], widths: list[int], norm: str) -> dict[str, nn.Module]:
    """Stage 2, 3 or 4 behind branches of ``before`` channels, and the layers that bring these to the stage's."""
    widths = widths[:number]
    steps = [
        nn.Identity() if before[i : i + 1] == [channels] else _step(before, i, channels, norm)
        for i, channels in enumerate(widths)
    ]
    modules = (ExchangeModule(widths, norm) for _ in range(_MODULES[number]))
    return {f"transition{number - 1}": nn.ModuleList(steps), f"stage{number}": nn.Sequential(*modules)}


def _step(before: list[int], branch: int, channels: int, norm: str) -> nn.Sequential:
    """To a branch from the one before the stage, or to a new branch from the coarsest."""
    if branch < len(before):
        return nn.Sequential(*_convolution(before[branch], channels, norm), nn.ReLU(inplace=True))
    # The authors' names have one level more here
    return nn.Sequential(nn.Sequential(*_convolution(before[-1], channels, norm, stride=2), nn.ReLU(inplace=True)))


def _exchange(widths: list[int], source: int, target: int, norm: str) -> nn.Module:
    """From one branch to another: a 1x1 convolution up, a 3x3 convolution of stride 2 for each halving down."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(nn.Conv2d(widths[source], widths[target], 1, bias=False), get_norm(norm, widths[target]))
    halvings = [
        nn.Sequential(*_convolution(widths[source], widths[source], norm, stride=2), nn.ReLU(inplace=True))
        for _ in range(target - source - 1)
    ]
    return nn.Sequential(*halvings, nn.Sequential(*_convolution(widths[source], widths[target], norm, stride=2)))


def _convolution(before: int, after: int, norm: str, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), get_norm(norm, after)


def _residual(kind: type[nn.Module], before: int, planes: int, norm: str, blocks: int = _BLOCKS) -> nn.Sequential:
    after = planes * kind.expansion
    shortcut = None
    if before != after:
        shortcut = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), get_norm(norm, after))
    first = kind(before, planes, norm, downsample=shortcut)
    return nn.Sequential(first, *(kind(after, planes, norm) for _ in range(blocks - 1)))
