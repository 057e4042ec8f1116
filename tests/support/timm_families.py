"""Small models of every family of timm's that has been tried, and configs that build them."""

import torch
from fastreid.config import CfgNode, get_cfg
from support.folding import with_random_batch_norms
from support.settings import small_config
from torch import nn

from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.modeling.backbones import build_backbone

SIZE = (64, 32)

CHAINS = {
    "resnet": ("resnet10t", ()),
    "resnetv2": ("resnetv2_18", ()),
    "convnext": ("convnext_atto", ("depths", (1, 1, 2, 1))),
    "convnextv2": ("convnextv2_atto", ("depths", (1, 1, 2, 1))),
    "swin": ("swin_tiny_patch4_window7_224", ("embed_dim", 24, "depths", (2, 2, 2, 2), "num_heads", (1, 2, 4, 8))),
    "swinv2": ("swinv2_tiny_window8_256", ("embed_dim", 24, "depths", (1, 1, 2, 1), "num_heads", (1, 2, 4, 8))),
    "swinv2_cr": ("swinv2_cr_tiny_ns_224", ("embed_dim", 24, "depths", (1, 1, 2, 1), "num_heads", (1, 2, 4, 8))),
    "efficientnet": ("efficientnet_b0", ()),
    "mobilenetv3": ("mobilenetv3_small_050", ()),
    "mobilenetv4": ("mobilenetv4_conv_small_035", ()),
    "regnet": ("regnety_002", ()),
    "repvit": ("repvit_m0_9", ()),
    "edgenext": ("edgenext_xx_small", ()),
    "pvt_v2": ("pvt_v2_b0", ()),
    "fastvit": ("fastvit_t8", ()),
    "davit": ("davit_tiny", ("depths", (1, 1, 1, 1), "embed_dims", (24, 48, 96, 192), "num_heads", (1, 2, 4, 8))),
    "mambaout": ("mambaout_femto", ()),
    "caformer": ("caformer_s18", ()),
    "inception_next": ("inception_next_atto", ()),
    "starnet": ("starnet_s1", ()),
    "tiny_vit": ("tiny_vit_5m_224", ()),
    "focalnet": ("focalnet_tiny_srf", ()),
    "hgnetv2": ("hgnetv2_b0", ()),
}
"""A model and further arguments, by family; stages that run one after the other."""

TRANSFORMERS = {
    "vit": ("vit_tiny_patch16_224", ("depth", 4)),
    "deit3": ("deit3_small_patch16_224", ("depth", 4, "embed_dim", 48, "num_heads", 3)),
    "clip": ("vit_base_patch16_clip_quickgelu_224", ("depth", 4, "embed_dim", 48, "num_heads", 3)),
    "dinov2": ("vit_small_patch14_reg4_dinov2", ("depth", 4, "embed_dim", 48, "num_heads", 3, "patch_size", 8)),
    "eva02": ("eva02_tiny_patch14_224", ("depth", 4, "patch_size", 8)),
    "rope_mixed": (
        "vit_small_patch16_rope_mixed_ape_224",
        ("depth", 4, "patch_size", 8, "embed_dim", 48, "num_heads", 3),
    ),
}
"""Plain vision transformers, likewise."""

HIERA = {"hiera": ("hiera_tiny_224", ("embed_dim", 16, "stages", (1, 1, 2, 1)))}

FAMILIES = CHAINS | TRANSFORMERS | HIERA


KINDS = ("vit", "swin", "hiera", "efficientnet")
"""One family of each kind, for tests that take long."""


def timm_settings(family: str, *overrides, last_stride: int = 1) -> list:
    """Overrides by which a config has a family's small model."""
    model, arguments = FAMILIES[family]
    return [
        *("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM.MODEL", model),
        *("MODEL.BACKBONE.TIMM.ARGS", arguments, "MODEL.BACKBONE.LAST_STRIDE", last_stride),
        *("MODEL.BACKBONE.PRETRAIN", False, "INPUT.SIZE_TRAIN", list(SIZE), "INPUT.SIZE_TEST", list(SIZE)),
        *overrides,
    ]


def timm_config(family: str, *overrides, last_stride: int = 1) -> CfgNode:
    """MDPR's config with a family's small model and two stripes."""
    settings = timm_settings(family, "MODEL.MDPR.PARTS", 2, *overrides, last_stride=last_stride)
    return small_config(*settings)


def timm_baseline_config(family: str, *overrides, last_stride: int = 2) -> CfgNode:
    """FastReID's bag of tricks with a family's small model and average pooling; its head reads the right width."""
    cfg = get_cfg()
    cfg.merge_from_file("configs/Baselines/Base-BoT.yml")
    settings = timm_settings(family, "MODEL.HEADS.POOL_LAYER", "GlobalAvgPool", last_stride=last_stride)
    cfg.merge_from_list([*settings, "MODEL.HEADS.NUM_CLASSES", 4, "MODEL.DEVICE", "cpu", *overrides])
    if "MODEL.BACKBONE.FEAT_DIM" not in overrides:
        cfg.MODEL.BACKBONE.FEAT_DIM = build_backbone(cfg).channels
    return cfg


METHODS = {"MDPR": timm_config, "Baseline": timm_baseline_config}
"""What makes a config of a family, by the method's name."""


def timm_model(method: str, family: str, *overrides) -> nn.Module:
    """A small model in evaluation mode, whose batch norms have random statistics."""
    torch.manual_seed(0)
    return with_random_batch_norms(build_model(METHODS[method](family, *overrides)))
