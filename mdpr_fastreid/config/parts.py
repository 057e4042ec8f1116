"""What the toolbox's own parts accept that no registry knows; a project's own part may accept anything."""

from collections.abc import Iterator

from fastreid.config import CfgNode

from mdpr_fastreid.config.names import nearest

DEPTHS = {
    "build_resnet_backbone": ("18x", "34x", "50x", "101x"),
    "build_resnext_backbone": ("50x", "101x"),
    "build_resnest_backbone": ("50x", "101x", "200x", "269x"),
    "build_osnet_backbone": ("x1_0", "x0_75", "x0_5", "x0_25"),
    "build_repvgg_backbone": ("A0", "A1", "A2", "B0", "B1", "B1g2", "B1g4", "B2", "B2g2", "B2g4", "B3", "B3g2", "B3g4"),
    "build_regnet_backbone": tuple(
        f"{size}{kind}" for size in (200, 400, 800, 1600, 3200, 4000, 6400) for kind in "xy"
    ),
    "build_effnet_backbone": ("b0", "b1", "b2", "b3", "b4", "b5"),
    "build_mobilenetv2_backbone": ("1.0x", "0.75x", "0.5x", "0.35x", "0.25x", "0.1x"),
    "build_mobilenetv3_backbone": ("Large", "Small"),
    "build_shufflenetv2_backbone": ("0.5x", "1.0x", "1.5x", "2.0x"),
    "build_vit_backbone": ("small", "base"),
}
"""The values of ``MODEL.BACKBONE.DEPTH`` of each of FastReID's backbones."""

NORMS = ("BN", "syncBN", "GhostBN", "FrozenBN", "GN")
"""What ``fastreid.layers.get_norm`` builds."""

_BASELINE_LOSSES = ("CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface")
LOSSES = {
    "Baseline": _BASELINE_LOSSES,
    "MoCo": _BASELINE_LOSSES,
    "Distiller": _BASELINE_LOSSES,
    "MGN": ("CrossEntropyLoss", "TripletLoss"),
}
"""What FastReID's architectures compute; they leave out any other name without a word."""


def part_problems(cfg: CfgNode) -> Iterator[str]:
    """A line about each setting that FastReID's or the plugin's backbone, head or architecture does not accept."""
    yield from _backbone_problems(cfg.MODEL.BACKBONE)
    yield from _head_problems(cfg.MODEL)
    yield from _architecture_problems(cfg)


def _not_one_of(key: str, value: str, owner: str, known: tuple[str, ...]) -> str:
    return f"{key} {value!r} is none of {owner}; {nearest(value, known)}"


def _backbone_problems(backbone: CfgNode) -> Iterator[str]:
    if backbone.TIMM.CAMERAS and backbone.NAME != "build_timm_backbone":
        yield (
            f"MODEL.BACKBONE.TIMM.CAMERAS {backbone.TIMM.CAMERAS}: {backbone.NAME} has no embeddings of cameras; "
            "set it to 0, or MODEL.BACKBONE.NAME to build_timm_backbone"
        )
    depths = DEPTHS.get(backbone.NAME)
    if depths is None:
        return
    if backbone.DEPTH not in depths:
        yield f"MODEL.BACKBONE.DEPTH {backbone.DEPTH!r} is none of {backbone.NAME}, which has {', '.join(depths)}"
    if backbone.NORM not in NORMS and backbone.NAME != "build_vit_backbone":
        yield _not_one_of("MODEL.BACKBONE.NORM", backbone.NORM, "FastReID's norm layers", NORMS)


def _head_problems(model: CfgNode) -> Iterator[str]:
    from fastreid.layers import any_softmax, pooling
    from fastreid.modeling.heads import REID_HEADS_REGISTRY

    heads = model.HEADS
    if getattr(REID_HEADS_REGISTRY.get(heads.NAME), "__module__", "").partition(".")[0] not in (
        "fastreid",
        "mdpr_fastreid",
    ):
        return
    if not hasattr(pooling, heads.POOL_LAYER):
        yield _not_one_of("MODEL.HEADS.POOL_LAYER", heads.POOL_LAYER, "fastreid.layers.pooling", pooling.__all__)
    if not hasattr(any_softmax, heads.CLS_LAYER):
        yield _not_one_of("MODEL.HEADS.CLS_LAYER", heads.CLS_LAYER, "FastReID's classifiers", any_softmax.__all__)
    if heads.NECK_FEAT not in ("before", "after"):
        yield f'MODEL.HEADS.NECK_FEAT {heads.NECK_FEAT!r} is neither "before" nor "after"'
    if heads.NORM not in NORMS and (heads.WITH_BNNECK or heads.NAME == "MDPRHead"):
        yield _not_one_of("MODEL.HEADS.NORM", heads.NORM, "FastReID's norm layers", NORMS)


def _architecture_problems(cfg: CfgNode) -> Iterator[str]:
    model = cfg.MODEL
    architecture, names = model.META_ARCHITECTURE, tuple(model.LOSSES.NAME)
    if architecture == "MDPR" or (architecture, model.HEADS.NAME) == ("Distiller", "MDPRHead"):
        yield from _mdpr_problems(cfg)
        return
    known = LOSSES.get(architecture)
    if known is None:
        return
    unknown = [name for name in names if name not in known]
    if unknown:
        yield f"MODEL.LOSSES.NAME: {architecture} has no {unknown[0]}; it has {', '.join(known)}"
    if not names and architecture != "MoCo":
        yield f"MODEL.LOSSES.NAME names no loss; {architecture} has {', '.join(known)}"
    if architecture == "MGN" and model.BACKBONE.NAME == "build_timm_backbone":
        yield (
            "MODEL.META_ARCHITECTURE MGN cuts FastReID's own ResNet: set MODEL.BACKBONE.NAME to build_resnet_backbone, "
            "or MODEL.META_ARCHITECTURE to Baseline or MDPR"
        )
    if model.HEADS.NAME == "MDPRHead":
        yield (
            f"MODEL.HEADS.NAME MDPRHead takes the maps of MDPR, and MODEL.META_ARCHITECTURE is {architecture}: "
            "set it to MDPR, or MODEL.HEADS.NAME to EmbeddingHead"
        )


def _mdpr_problems(cfg: CfgNode) -> Iterator[str]:
    from fastreid.modeling.heads import REID_HEADS_REGISTRY, EmbeddingHead

    from mdpr_fastreid.config.names import registered
    from mdpr_fastreid.errors import UsageError
    from mdpr_fastreid.modeling.features import check_settings
    from mdpr_fastreid.modeling.losses import LOSS_REGISTRY

    head = REID_HEADS_REGISTRY.get(cfg.MODEL.HEADS.NAME)
    if isinstance(head, type) and issubclass(head, EmbeddingHead):
        yield (
            f"MODEL.META_ARCHITECTURE MDPR needs a head for the maps of its branches, and MODEL.HEADS.NAME is "
            f"{cfg.MODEL.HEADS.NAME}: set it to MDPRHead"
        )
    for name in cfg.MODEL.LOSSES.NAME if cfg.MODEL.HEADS.NAME == "MDPRHead" else ():
        try:
            registered(LOSS_REGISTRY, name)
        except UsageError as error:
            yield f"MODEL.LOSSES.NAME: {error}"
    try:
        check_settings(cfg.MODEL.MDPR)
    except UsageError as error:
        yield str(error).replace(":\n  ", ": ").replace("\n  ", "; ")
