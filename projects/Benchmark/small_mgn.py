"""MGN on ResNets of basic blocks (18 and 34), which FastReID's own class cannot be built on."""

import copy

from fastreid.config import CfgNode
from fastreid.modeling.backbones.resnet import ResNet
from fastreid.modeling.heads import build_heads
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, MGN, Baseline
from torch import nn

from mdpr_fastreid.errors import SettingsError

_HEADS = ("b1_head", "b2_head", "b21_head", "b22_head", "b3_head", "b31_head", "b32_head", "b33_head")


@META_ARCH_REGISTRY.register()
class SmallMGN(MGN):
    """Multiple Granularities Network (Wang et al., ACM MM 2018, arXiv 1804.01438) on a ResNet of any kind of block.

    FastReID's class writes the last stage of the two striped branches out in bottleneck blocks. Here it is a copy of
    the backbone's own, with stride 1, which on ResNet-50 is the same network. Losses and evaluation are FastReID's.
    """

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """The constructor's arguments.

        Raises:
            SettingsError: the backbone is none of FastReID's ResNets.
        """
        baseline = Baseline.from_config(cfg)
        resnet = baseline["backbone"]
        if not isinstance(resnet, ResNet):
            raise SettingsError(
                f"SmallMGN takes stages 3 and 4 of FastReID's ResNet apart, and {type(resnet).__name__} has none such: "
                "set MODEL.BACKBONE.NAME to build_resnet_backbone"
            )
        first, *others = resnet.layer3
        trunk = nn.Sequential(
            resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool, resnet.layer1, resnet.layer2, first
        )

        def branch(last_stage: nn.Module) -> nn.Sequential:
            return nn.Sequential(copy.deepcopy(nn.Sequential(*others)), copy.deepcopy(last_stage))

        with_stripes = _with_stride_1(resnet.layer4)
        return {
            "backbone": trunk,
            "neck1": branch(resnet.layer4),
            "neck2": branch(with_stripes),
            "neck3": branch(with_stripes),
            **{name: build_heads(cfg) for name in _HEADS},
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "loss_kwargs": baseline["loss_kwargs"],
        }


def _with_stride_1(stage: nn.Module) -> nn.Module:
    """A copy of a ResNet's stage that keeps the size of its map."""
    stage = copy.deepcopy(stage)
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    return stage
