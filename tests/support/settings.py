"""Small MDPR models for tests."""

from fastreid.config import CfgNode, get_cfg
from fastreid.modeling import build_model
from torch import nn

SINGLE_BRANCH = {
    branch: [
        "MODEL.MDPR.BRANCHES",
        (branch,),
        "MODEL.MDPR.DISTILL.ENABLED",
        False,
        "MODEL.MDPR.FUSION.ENABLED",
        False,
        "MODEL.MDPR.INFERENCE_FEATURES",
        features,
    ]
    for branch, features in {"hard": ("hard_global", "hard_parts"), "soft": ("soft4", "soft3")}.items()
}
"""Overrides that train one branch alone."""


def small_config(*overrides) -> CfgNode:
    """The default configuration on a ResNet-18 at 96x48 with 4 identities and narrow embeddings."""
    cfg = get_cfg()
    cfg.merge_from_file("configs/Base-MDPR.yml")
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.BACKBONE.DEPTH", "18x"),
            *("MODEL.MDPR.EMBEDDING_DIM", 16, "MODEL.HEADS.NUM_CLASSES", 4),
            *("INPUT.SIZE_TRAIN", [96, 48], "INPUT.SIZE_TEST", [96, 48]),
            *overrides,
        ]
    )
    return cfg


def small_model(*overrides) -> nn.Module:
    """A model of :func:`small_config`."""
    return build_model(small_config(*overrides))
