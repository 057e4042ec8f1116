"""The head of a video network: what the frames of a clip say, averaged over time."""

from typing import NamedTuple

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import nn


class ClipReadings(NamedTuple):
    """What a network reads off the clips of a training batch."""

    frames: torch.Tensor
    """``[B, T, C]``, the features of each frame."""
    embedding: torch.Tensor
    """``[B, C]``, their mean: what is compared."""
    logits: torch.Tensor
    """``[B, Y]``."""


@REID_HEADS_REGISTRY.register()
class FrameHead(nn.Module):
    """Pools each frame, and averages over the frames of a clip (VKD, arXiv 2007.04174).

    Global average pooling gives the features of a frame. Their mean over time, *before* any batch norm, is the
    embedding of triplet loss, distances and evaluation. Batch norm and classifier work on each frame, and the logits
    are averaged behind them.

    Args:
        channels: ``C`` of the backbone's map.
        identities: ``Y`` of the training set.

    Shapes:
        maps ``[B, T, C, h, w]`` -> :class:`ClipReadings`, in float32 at least. In evaluation,
        :meth:`frame_features` is all that is needed.
    """

    @configurable
    def __init__(self, *, channels: int, identities: int):
        super().__init__()
        self.neck = nn.BatchNorm1d(channels)
        self.neck.bias.requires_grad_(False)
        self.classifier = nn.Linear(channels, identities, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {"channels": cfg.MODEL.BACKBONE.FEAT_DIM, "identities": cfg.MODEL.HEADS.NUM_CLASSES}

    def forward(self, maps: torch.Tensor) -> ClipReadings:
        frames = self.frame_features(maps)
        return ClipReadings(frames, frames.mean(dim=1), self.logits(frames))

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        """``[B, T, C]`` -> ``[B, Y]``, averaged over time."""
        logits = self.classifier(self.neck(frames.flatten(0, 1))).unflatten(0, frames.shape[:2])
        return _exact(logits).mean(dim=1)

    @staticmethod
    def frame_features(maps: torch.Tensor) -> torch.Tensor:
        """``[..., C, h, w]`` -> ``[..., C]``."""
        # Distances of features that are not normalised want more digits than half precision has
        return _exact(maps).mean(dim=(-2, -1))

    def set_trained(self, trained: bool) -> None:
        """Say whether a loss reads the logits: without one, DistributedDataParallel fails on what gets no gradient."""
        self.neck.weight.requires_grad_(trained)
        self.classifier.weight.requires_grad_(trained)

    def simplify_for_inference(self) -> None:
        """Take away, in place, what no output depends on; see :mod:`mdpr_fastreid.inference.folding`."""
        self.neck = self.classifier = None


def _exact(values: torch.Tensor) -> torch.Tensor:
    """In float32 at least, before a mean."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
