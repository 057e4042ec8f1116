"""The network of stage 1 as a row beside those of stage 2: it is evaluated as it is, and nothing of it is trained."""

import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from mdkt.meta_arch import VideoReID
from torch.utils.data import Dataset

from mdpr_fastreid.config import Key, register_keys
from mdpr_fastreid.config.values import path
from mdpr_fastreid.weights import load_for_evaluation

register_keys(
    Key(
        "MODEL.STAGE1.WEIGHTS",
        "",
        path,
        "Checkpoint that is evaluated; {seed} in it stands for SEED",
        ("MODEL.META_ARCHITECTURE", "Stage1"),
    )
)


@META_ARCH_REGISTRY.register()
class Stage1(VideoReID):
    """VideoReID with the settings of ``MODEL.MDKT`` at their defaults and the weights of a checkpoint."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.requires_grad_(False)
        self.nothing = torch.nn.Parameter(torch.zeros(1))  # an optimizer wants a parameter

    def prepare_training(self, cfg: CfgNode, training_set: Dataset | None = None) -> None:
        """Load ``MODEL.STAGE1.WEIGHTS``."""
        own, self.nothing = self.nothing, None
        load_for_evaluation(self, cfg.MODEL.STAGE1.WEIGHTS.replace("{seed}", str(cfg.SEED)))
        self.nothing = own

    def forward(self, batch):
        return {"loss_nothing": self.nothing.sum() * 0} if self.training else super().forward(batch)
