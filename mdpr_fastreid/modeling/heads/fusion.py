"""Fuse the maps of the two branches into one: the paper's way, and cheaper ones by ``MODEL.MDPR.FUSION.KIND``."""

from collections.abc import Sequence

import torch
from fastreid.layers import get_norm
from fastreid.layers.weight_init import weights_init_kaiming
from torch import nn

from mdpr_fastreid.config.names import NamedRegistry
from mdpr_fastreid.modeling.layers import merged_convolution

FUSION_REGISTRY = NamedRegistry("FUSION")
FUSION_REGISTRY.__doc__ = """
Fusions by the name that ``MODEL.MDPR.FUSION.KIND`` gives them: the class attribute ``name``, or the class's own.

Each is built as ``fusion(embedding_dim, norm)`` and called as :meth:`FeatureFusion.forward` is. One that is computed
otherwise in inference has ``simplify_for_inference()``; see :mod:`mdpr_fastreid.inference.folding`.
"""


class FeatureFusion(nn.Module):
    """Stripes and whole, stage 4 and stage 3, then both branches (arXiv 2401.06430, multi-perspective feature fusion).

    The stripes are put back together along the height and blended; the result is blended with the hard branch's
    global map, the two maps of the soft branch with each other, and the two outcomes with each other. To blend is
    to concatenate and to apply :meth:`blend`.

    Args:
        embedding_dim: channels ``E`` of the maps that come in.
        norm: FastReID's name of the batch norm.
    """

    def __init__(self, embedding_dim: int, norm: str = "BN"):
        super().__init__()
        self.stripes = self.blend(embedding_dim, norm)
        self.hard = self.blend(2 * embedding_dim, norm)
        self.soft = self.blend(2 * embedding_dim, norm)
        self.output = self.blend(4 * embedding_dim, norm)
        self.apply(weights_init_kaiming)

    @staticmethod
    def blend(channels: int, norm: str) -> nn.Module:
        """What makes one map ``[B, C, h, w]`` of several that lie side by side, ``[B, C, h, w]``."""
        raise NotImplementedError

    def forward(
        self, global_map: torch.Tensor, stripe_maps: Sequence[torch.Tensor], map4: torch.Tensor, map3: torch.Tensor
    ) -> torch.Tensor:
        """Fuse the branches.

        Args:
            global_map: ``[B, E, h, w]`` of the hard branch.
            stripe_maps: ``[B, E, h_i, w]`` from head to feet, whose heights add up to ``h``.
            map4: ``[B, E, h, w]`` of stage 4 of the soft branch.
            map3: ``[B, E, h, w]`` of stage 3 of the soft branch.

        Returns:
            ``[B, 4E, h, w]``.
        """
        whole = self.stripes(torch.cat(tuple(stripe_maps), dim=2))
        hard = self.hard(torch.cat([whole, global_map], dim=1))
        soft = self.soft(torch.cat([map4, map3], dim=1))
        return self.output(torch.cat([hard, soft], dim=1))


@FUSION_REGISTRY.register()
class FullFusion(FeatureFusion):
    """The paper's: a 1x1 and a 3x3 convolution that keep the channels, without bias, batch norm, ReLU."""

    name = "full"

    @staticmethod
    def blend(channels: int, norm: str) -> nn.Module:
        return _separated(channels, norm, groups=1)

    def simplify_for_inference(self) -> None:
        """Make the 1x1 and the 3x3 convolution of each block one, in place, by name."""
        for name, (pointwise, conv, *rest) in list(self.named_children()):
            setattr(self, name, nn.Sequential(merged_convolution(pointwise, conv), *rest))


@FUSION_REGISTRY.register()
class DepthwiseFusion(FeatureFusion):
    """The paper's with a 3x3 convolution of every channel by itself: a tenth of the multiplications in training.

    Not published for MDPR; separable convolutions are those of MobileNets (arXiv 1704.04861).
    """

    name = "depthwise"

    @staticmethod
    def blend(channels: int, norm: str) -> nn.Module:
        return _separated(channels, norm, groups=channels)


@FUSION_REGISTRY.register()
class BottleneckFusion(FeatureFusion):
    """Blends by ResNet's bottleneck (arXiv 1512.03385), to which its input is added: a ninth of the multiplications.

    Not published for MDPR.
    """

    name = "bottleneck"

    @staticmethod
    def blend(channels: int, norm: str) -> nn.Module:
        return _Bottleneck(channels, norm)


def _separated(channels: int, norm: str, groups: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False),
        get_norm(norm, channels),
        nn.ReLU(inplace=True),
    )


class _Bottleneck(nn.Sequential):
    def __init__(self, channels: int, norm: str):
        narrow = max(channels // 4, 1)
        super().__init__(
            nn.Conv2d(channels, narrow, 1, bias=False),
            get_norm(norm, narrow),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, narrow, 3, padding=1, bias=False),
            get_norm(norm, narrow),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, channels, 1, bias=False),
            get_norm(norm, channels),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features + super().forward(features)).relu()
