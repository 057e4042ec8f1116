"""What a run of a comparison has of its own: the model and the losses of a config."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from torch import nn

from mdpr_fastreid.compare.shared import read_config
from mdpr_fastreid.config import UnknownNameError, check_config
from mdpr_fastreid.config.own_code import HOW_TO_IMPORT
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling import build_model, image_sizes

BUILT_IN = {
    "mdpr": ("MDPR", "Base-MDPR.yml"),
    "bot": ("BoT", "Baselines/Base-BoT.yml"),
    "agw": ("AGW", "Baselines/Base-AGW.yml"),
    "sbs": ("SBS", "Baselines/Base-SBS.yml"),
    "mgn": ("MGN", "Baselines/Base-MGN.yml"),
}
"""Title and config of the methods that have a name; any other method is the path of a config file."""

_BACKBONES = {
    **{f"r{depth}": ("build_resnet_backbone", f"{depth}x") for depth in (18, 34, 50, 101)},
    **{f"s{depth}": ("build_resnest_backbone", f"{depth}x") for depth in (50, 101)},
    "osnet": ("build_osnet_backbone", "x1_0"),
}
BACKBONES = (*(name for name in _BACKBONES), *(f"r{depth}-ibn" for depth in (18, 34, 50, 101)))
"""What ``--backbone`` takes: ResNet, ResNet-IBN, ResNeSt and OSNet, as the configs' names have them."""

_BOTTLENECK_RESNETS = tuple(f"build_resnet_backbone {depth}x" for depth in (50, 101, 152))
# What makes up a backbone; the non-local blocks are a part of AGW and SBS.
_BACKBONE_KEYS = ("NAME", "DEPTH", "LAST_STRIDE", "NORM", "WITH_IBN", "WITH_SE", "FEAT_DIM", "TIMM")
# How images are normalised and stored, and what weights training starts from, are conditions, not the method.
_SHARED_MODEL_KEYS = ("DEVICE", "PIXEL_MEAN", "PIXEL_STD", "CHANNELS_LAST")
_FIELDS = ("FIELDS", "MASK", "CLIP")
"""What a method asks for beside the images, below ``INPUT``."""
# The published width of MDPR's embeddings is a quarter of ResNet-50's channels.
_MDPR_EMBEDDING_SHARE = 4


class CannotCarryError(UsageError):
    """The backbone lacks what the method needs."""


@dataclass(frozen=True)
class Method:
    """A model with its losses."""

    name: str
    title: str
    config: str
    """The config as it was named."""
    overrides: tuple[str, ...] = ()
    """``KEY, VALUE, ...`` on top of it; what an ablation is made of."""
    trained: bool = True
    """Whether it is trained; else it evaluates the weights of another one."""

    @property
    def built_in(self) -> bool:
        """Whether it takes the backbone of the shared conditions, for it has none of its own."""
        return self.config in {config for _, config in BUILT_IN.values()}


def find_methods(names: Sequence[str]) -> list[Method]:
    """The methods of a list of names and config files, of which ``TITLE=FILE`` gives one a title.

    Raises:
        UsageError: a name that is neither, or two methods of one name.
    """
    methods = [_find_method(name) for name in names]
    known = [method.name for method in methods]
    twice = next((name for name in known if known.count(name) > 1), None)
    if twice:
        raise UsageError(
            f"--methods names {twice} twice (TITLE=FILE names a config file otherwise than by its file name)"
        )
    return methods


def _find_method(name: str) -> Method:
    if name in BUILT_IN:
        title, config = BUILT_IN[name]
        return Method(name, title, config)
    title, is_titled, config = name.partition("=")
    if not is_titled or Path(name).is_file():  # whose name may have a = of its own
        title, config = "", name
    if Path(config).suffix not in (".yml", ".yaml"):
        nearest = difflib.get_close_matches(name.lower(), BUILT_IN, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(BUILT_IN)}, and config files"
        raise UsageError(f"--methods {name}: {hint}")
    title = title.strip() or Path(config).stem
    short = re.sub(r"[^\w.-]+", "-", title).strip(".-")
    if not short:
        raise UsageError(f"--methods {name}: the title before = has no letters")
    return Method(short, title, config)


def method_config(
    method: Method, shared: CfgNode, identities: int, backbone: str | None = None, overrides: Sequence[str] = ()
) -> CfgNode:
    """The whole config of a method under the shared conditions.

    Args:
        method: whose model and losses.
        shared: the conditions; its backbone is that of the methods that have a name.
        identities: of the training set.
        backbone: one of ``BACKBONES``, for every method.
        overrides: those of the command line; those of ``MODEL``, ``KD`` and of the fields hold for every method.

    Raises:
        CannotCarryError: the model cannot be built on this backbone.
        UsageError: the config cannot be read.
    """
    own = read_config(method.config, parts=("model",))
    model = own.MODEL
    model.WEIGHTS = ""
    model.HEADS.NUM_CLASSES = identities
    for key in _SHARED_MODEL_KEYS:
        model[key] = shared.MODEL[key]
    own_backbone = not method.built_in and backbone is None
    for key in ("PRETRAIN",) if own_backbone else (*_BACKBONE_KEYS, "PRETRAIN", "PRETRAIN_PATH"):
        model.BACKBONE[key] = shared.MODEL.BACKBONE[key]
    if backbone is not None:
        _set_backbone(model.BACKBONE, backbone)

    cfg = shared.clone()
    cfg.MODEL, cfg.KD = model, own.KD  # what is distilled from is a part of the losses
    for key in _FIELDS:
        cfg.INPUT[key] = own.INPUT[key]
    _merge_model(cfg, overrides)
    given = [*(key for key in overrides[::2]), *method.overrides[::2]]
    if "MODEL.BACKBONE.FEAT_DIM" not in given:
        cfg.MODEL.BACKBONE.FEAT_DIM = _channels(cfg)
    if method.built_in and cfg.MODEL.META_ARCHITECTURE == "MDPR" and "MODEL.MDPR.EMBEDDING_DIM" not in given:
        cfg.MODEL.MDPR.EMBEDDING_DIM = cfg.MODEL.BACKBONE.FEAT_DIM // _MDPR_EMBEDDING_SHARE
    cfg.merge_from_list(list(method.overrides))
    return cfg


def empty_model(cfg: CfgNode) -> nn.Module:
    """The model of a config without memory, on the device ``meta``.

    Raises:
        CannotCarryError: it cannot be built, or cannot read a test image.
        UsageError: its config names what nobody has registered.
    """
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "meta"
    cfg.MODEL.BACKBONE.PRETRAIN = False
    try:
        check_config(cfg, parts=("model",))
        with torch.device("meta"), torch.no_grad():
            model = build_model(cfg).eval()
            model(torch.empty(2, 3, *image_sizes(cfg).test.size))
    except UnknownNameError as error:  # a typing mistake, or code that was not imported: no method to leave out
        raise UsageError(f"{error}; {HOW_TO_IMPORT}") from error
    except Exception as error:  # any toolbox model may be here, and each fails in its own way
        raise CannotCarryError(_reason(cfg, error)) from error
    return model


def notes(cfg: CfgNode, model: nn.Module) -> list[str]:
    """What a reader should know about a method on this backbone."""
    lines = []
    if cfg.MODEL.BACKBONE.WITH_NL and not any(type(part).__name__ == "Non_local" for part in model.modules()):
        lines.append("FastReID has no non-local blocks for this backbone, so it trains without them")
    if cfg.MODEL.FREEZE_LAYERS and not cfg.SOLVER.FREEZE_ITERS:
        lines.append("no layers are frozen at the start: that belongs to the schedule, which is shared")
    if hasattr(model, "distance"):
        lines.append("its images are ranked by a distance of its own, whatever TEST.METRIC says")
    return lines


def settings_ablated(cfg: CfgNode) -> str:
    """Where an MDPR stands on what its ablations change by number."""
    mdpr = cfg.MODEL.MDPR
    return f"{mdpr.ATTENTION.MAPS} attention maps, beta = {mdpr.ATTENTION.AREA_SCALE:g}, {mdpr.PARTS} stripes"


def _merge_model(cfg: CfgNode, overrides: Sequence[str]) -> None:
    pairs = zip(overrides[::2], overrides[1::2], strict=True)
    of_methods = ("MODEL.", "KD.", *(f"INPUT.{key}" for key in _FIELDS))
    own = [word for key, value in pairs if key.startswith(of_methods) for word in (key, value)]
    cfg.merge_from_list(own)


def _set_backbone(node: CfgNode, name: str) -> None:
    if name not in BACKBONES:
        raise UsageError(
            f"--backbone {name}: there are {', '.join(BACKBONES)}; any other is set by MODEL.BACKBONE.NAME and DEPTH"
        )
    builder, depth = _BACKBONES[name.removesuffix("-ibn")]
    node.NAME, node.DEPTH = builder, depth
    node.WITH_IBN = name.endswith("-ibn")


def _channels(cfg: CfgNode) -> int:
    cfg = cfg.clone()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    try:
        with torch.device("meta"), torch.no_grad():
            return build_backbone(cfg).eval()(torch.empty(2, 3, *image_sizes(cfg).test.size)).shape[1]
    except Exception as error:  # as in empty_model
        raise CannotCarryError(_reason(cfg, error)) from error


def _reason(cfg: CfgNode, error: Exception) -> str:
    backbone = f"{cfg.MODEL.BACKBONE.NAME} {cfg.MODEL.BACKBONE.DEPTH}"
    if cfg.MODEL.META_ARCHITECTURE == "MGN" and backbone not in _BOTTLENECK_RESNETS:
        return f"MGN needs a ResNet of bottleneck blocks (r50, r101), and {backbone} is none"
    first_line = (str(error).strip().splitlines() or [""])[0]
    size = "x".join(map(str, image_sizes(cfg).test.size))
    return (
        f"{cfg.MODEL.META_ARCHITECTURE} cannot be built on {backbone} for images of {size}: "
        f"{type(error).__name__}: {first_line}"
    )
