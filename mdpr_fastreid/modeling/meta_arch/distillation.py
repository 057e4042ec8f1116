"""MDPR where FastReID distils knowledge: as a teacher, and as the student, of its ``Distiller``."""

from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Distiller
from torch import nn

from mdpr_fastreid.modeling.backbones import StageMaps
from mdpr_fastreid.modeling.meta_arch.mdpr import MDPR


@META_ARCH_REGISTRY.register()
class DistillableMDPR(MDPR):
    """MDPR in the two calls that ``Distiller`` makes of a model: ``heads(backbone(images), targets)``.

    Between them the branches read the backbone's maps. Weights, their names, and all numbers are MDPR's. The class
    logits that are compared are those of the fused feature.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.heads.register_forward_pre_hook(self._read)

    def _read(self, heads: nn.Module, args: tuple) -> tuple | None:
        features, *targets = args
        return (self.perspectives(features), *targets) if isinstance(features, StageMaps) else None


@META_ARCH_REGISTRY.register()
class MDPRDistiller(Distiller, DistillableMDPR):
    """FastReID's ``Distiller`` with MDPR as its student; ``MODEL.META_ARCHITECTURE Distiller`` means it, too.

    Losses are MDPR's, and ``loss_jsdiv`` to the teachers of ``KD`` (Zhang et al., Deep Mutual Learning, CVPR 2018).
    """

    def simplify_for_inference(self) -> None:
        """As MDPR's; the teachers go, too."""
        super().simplify_for_inference()
        self.model_ts = []
