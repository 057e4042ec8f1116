"""FastReID's ``EmbeddingHead``, evaluated before its neck: ``MODEL.HEADS.TEST_NECK_FEAT before``."""

import torch
from fastreid.config import CfgNode
from fastreid.modeling.heads import REID_HEADS_REGISTRY, EmbeddingHead
from torch import nn

from mdpr_fastreid.errors import SettingsError

_KEY = "MODEL.HEADS.TEST_NECK_FEAT"


@REID_HEADS_REGISTRY.register()
class EmbeddingHeadBeforeNeck(EmbeddingHead):
    """Trains as ``EmbeddingHead`` does, with its weights, and gives the pooled vector in evaluation.

    That is what TransReID, SOLIDER and PersonViT publish numbers of (He et al., ICCV 2021, their ``NECK_FEAT before``);
    FastReID's own head gives the vector behind the batch neck, whatever its ``NECK_FEAT`` says.
    """

    def __init__(self, *args: object, **kwargs: object):
        super().__init__(*args, **kwargs)
        neck = next(iter(self.bottleneck), None)
        reduces = isinstance(neck, nn.Conv2d)
        self.feature_length = neck.in_channels if reduces else self.weight.size(1)
        """Numbers of the vector: ``EMBEDDING_DIM`` reduces them in the neck only."""

    def forward(self, features: torch.Tensor, targets: torch.Tensor | None = None) -> dict | torch.Tensor:
        """``[B, C, h, w]`` -> ``[B, C]`` in evaluation; in training what ``EmbeddingHead`` gives."""
        if self.training:
            return super().forward(features, targets)
        return self.pool_layer(features)[..., 0, 0]

    def simplify_for_inference(self) -> None:
        """Take away the neck, in place; see :mod:`mdpr_fastreid.inference.folding`."""
        self.bottleneck = nn.Sequential()


def head_for_test(cfg: CfgNode) -> str:
    """The name of the head that does in evaluation what ``TEST_NECK_FEAT`` says.

    Raises:
        SettingsError: it is neither before nor after, or before with a head that is not ``EmbeddingHead``.
    """
    heads = cfg.MODEL.HEADS
    feature = heads.get("TEST_NECK_FEAT", "after")  # a config may be older than the key
    if feature == "after":
        return heads.NAME
    if feature != "before":
        raise SettingsError(f"{_KEY} must be after or before, not {feature!r}")
    if heads.NAME not in ("EmbeddingHead", EmbeddingHeadBeforeNeck.__name__):
        raise SettingsError(
            f"{_KEY} before is for MODEL.HEADS.NAME EmbeddingHead; {heads.NAME} says itself what its features are: set "
            "it to after"
        )
    return EmbeddingHeadBeforeNeck.__name__
