"""``MODEL.BACKBONE.NAME: build_timm_backbone``: from ``MODEL.BACKBONE.TIMM`` to a model of timm's."""

import importlib
import re
from types import ModuleType

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from torch import nn

from mdpr_fastreid.config.names import nearest
from mdpr_fastreid.errors import SettingsError, UsageError, shown
from mdpr_fastreid.modeling.backbones.image_sizes import ImageSize, image_sizes
from mdpr_fastreid.modeling.backbones.timm_models import transformers
from mdpr_fastreid.modeling.backbones.timm_models.backbone import Reading, TimmBackbone, as_backbone, features_of

_KEY = "MODEL.BACKBONE.TIMM"
_DROP_PATH = 0.1
_CANNOT_BE = (TypeError, NotImplementedError, AssertionError, RuntimeError, ValueError, ArithmeticError, LookupError)
"""What timm's models raise of arguments that cannot be."""
_OWN_MODELS = ("solider", "transreid_ssl")
"""Files that register models beside timm's."""
_NO_OVERLAP = (16, 16)
"""FastReID's default of ``STRIDE_SIZE``: patches of any size stand side by side."""
_ANOTHER_SIZE = (320, 160)
"""Height and width that a model of any size of images takes beside those it is built for."""
_NO_ARGUMENTS = {
    "pretrained": "MODEL.BACKBONE.PRETRAIN starts from weights",
    "checkpoint_path": "MODEL.BACKBONE.PRETRAIN_PATH names a file of weights",
    "features_only": "the backbone is the whole model, which MDPR cuts itself",
    "in_chans": "images have three channels",
    "img_size": "INPUT.SIZE_TRAIN is the size of images",
}
"""What ``TIMM.ARGS`` must not have, and why."""
_CONVOLUTIONAL = (
    *("byobnet", "cspnet", "densenet", "dla", "efficientnet", "fasternet", "fastvit", "ghostnet", "hgnet", "hrnet"),
    *("mobilenetv3", "mobilevit", "regnet", "repghost", "repvit", "res2net", "resnest", "resnet", "resnetv2", "rexnet"),
    *("selecsls", "starnet", "tresnet", "vgg", "vovnet", "xception"),
)
"""Files of timm's models that are trained without stochastic depth unless it is asked for."""


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode) -> TimmBackbone:
    """The model that ``MODEL.BACKBONE.TIMM.MODEL`` names, without its classifier and with random weights.

    It is built for images of ``INPUT.SIZE_TRAIN``, and takes those of ``INPUT.SIZE_TEST``; of ``INPUT.CROP.SIZE``
    where images are cropped.

    Args:
        cfg: whose ``PRETRAIN`` is somebody else's, see :func:`mdpr_fastreid.modeling.backbones.build_backbone`.

    Raises:
        UsageError: timm is not installed, does not know the model or an argument, or the model does not fit. Or the
            config leaves the size of images open, and the model does not take any size.
    """
    timm, options = _timm(), cfg.MODEL.BACKBONE.TIMM
    name, (train, test) = options.MODEL, image_sizes(cfg)
    if not timm.is_model(name):
        raise UsageError(_unknown(name, timm))
    # The model is run once, and back: not on a default device without data (meta), nor where gradients are off
    with torch.device("cpu"), torch.enable_grad():
        model = _created(cfg, timm, train.size, test.size)
        if (stride := tuple(cfg.MODEL.BACKBONE.STRIDE_SIZE)) != _NO_OVERLAP:
            _overlap(model, stride, name)
        grids = ()
        if not transformers.is_plain(model):
            _check_no_tokens(options)
        else:
            for size in (train, test):
                if size.is_open:
                    raise SettingsError(_needs_a_size(name, size))
            grids = tuple(model.patch_embed.dynamic_feat_size(one.size) for one in (train, test))
        reading = Reading(
            name, train.size, train.key, grids, options.CLASS_TOKEN, tuple(options.CUT), options.NORM_MAPS
        )
        backbone = as_backbone(model, reading)
        _check_sizes(backbone, train, test)
        if options.CAMERAS:
            _tell_cameras_apart(backbone, options)
    return backbone.to(torch.get_default_device())


def _check_no_tokens(options: CfgNode) -> None:
    """Refuse what is said of the tokens of a model that has none."""
    if options.CUT:
        raise SettingsError(
            f"{_KEY}.CUT {tuple(options.CUT)}: {options.MODEL} is cut where its stages end; CUT is for plain vision "
            "transformers, leave it at ()"
        )
    if options.CLASS_TOKEN not in ("", "drop"):
        raise SettingsError(
            f"{_KEY}.CLASS_TOKEN {options.CLASS_TOKEN}: {options.MODEL} has no class token; set it to drop"
        )


def _overlap(model: nn.Module, stride: tuple[int, ...], name: str) -> None:
    if not transformers.is_plain(model):
        raise SettingsError(
            f"MODEL.BACKBONE.STRIDE_SIZE {stride}: {name} is no plain vision transformer, whose patches could overlap; "
            "leave it at (16, 16)"
        )
    from mdpr_fastreid.modeling.backbones.timm_models.overlapping import overlap_patches

    overlap_patches(model, stride, name)


@torch.no_grad()
def _check_sizes(backbone: TimmBackbone, train: ImageSize, test: ImageSize) -> None:
    """Refuse before training what the first batch or the first evaluation could not run."""
    training = backbone.training
    backbone.eval()
    for one in (train, test):
        if one.is_open:
            try:
                features_of(backbone, _ANOTHER_SIZE, one.key)
            except SettingsError as error:
                raise SettingsError(_needs_a_size(backbone.reading.name, one)) from error
    if test.size != train.size:
        features_of(backbone, test.size, test.key)
    backbone.train(training)


def _needs_a_size(name: str, size: ImageSize) -> str:
    return (
        f"{size.key} {list(size.value)} leaves the size of images open, and MODEL.BACKBONE.TIMM.MODEL {name} does not "
        f"take any size: give {size.key} '[height, width]'"
    )


def _tell_cameras_apart(backbone: TimmBackbone, options: CfgNode) -> None:
    from mdpr_fastreid.modeling.backbones.timm_models.cameras import add_cameras

    add_cameras(backbone, options.CAMERAS, options.CAMERA_SCALE, options.WITHOUT_CAMERA, options.MODEL)


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise UsageError(
            "MODEL.BACKBONE.NAME build_timm_backbone needs timm: pip install 'mdpr-fastreid[timm]'"
        ) from error
    for module in _OWN_MODELS:
        importlib.import_module(f"{__package__}.{module}")
    return timm


def _unknown(name: str, timm: ModuleType) -> str:
    if not name:
        return f"MODEL.BACKBONE.NAME build_timm_backbone needs the model's name in {_KEY}.MODEL, such as convnext_tiny"
    if ":" in name:
        return f"{_KEY}.MODEL {shown(name)}: give a name of timm's, and the weights by MODEL.BACKBONE.PRETRAIN_PATH"
    return f"{_KEY}.MODEL {shown(name)} is no model of timm {timm.__version__}; {_near(name, timm.list_models())}"


def _near(name: str, known: list[str]) -> str:
    near = nearest(name, known)
    return near if near.startswith("did") else "timm.list_models() has all names"


def _created(cfg: CfgNode, timm: ModuleType, train: tuple[int, int], test: tuple[int, int]) -> nn.Module:
    """The model, with those of the arguments that its family takes."""
    options = cfg.MODEL.BACKBONE.TIMM
    asked = dict(zip(options.ARGS[::2], options.ARGS[1::2], strict=True))
    for argument in asked.keys() & _NO_ARGUMENTS.keys():
        raise SettingsError(f"{_KEY}.ARGS must not have {argument}: {_NO_ARGUMENTS[argument]}")
    family = timm.models.model_entrypoint(options.MODEL).__module__.rpartition(".")[2]
    kwargs = {"num_classes": 0, "img_size": train, **_windows(family)}
    kwargs["drop_path_rate"] = _drop_path(options.DROP_PATH, family)
    if family == "solider":
        kwargs["semantic_weight"] = options.SEMANTIC_WEIGHT
    if family in ("vision_transformer", "eva", "deit", "transreid_ssl") and train != test:
        kwargs["dynamic_img_size"] = True
    if cfg.MODEL.BACKBONE.LAST_STRIDE != 1 and options.RESAMPLE == "stride":
        raise SettingsError(
            f"{_KEY}.RESAMPLE stride is for MODEL.BACKBONE.LAST_STRIDE 1, and it is {cfg.MODEL.BACKBONE.LAST_STRIDE}: "
            "set LAST_STRIDE to 1, or RESAMPLE to upsample"
        )
    if cfg.MODEL.BACKBONE.LAST_STRIDE == 1 and options.RESAMPLE != "upsample":
        kwargs["output_stride"] = 16
    left_out: list[str] = []
    while True:
        try:
            model = timm.create_model(options.MODEL, **{**kwargs, **asked})
        except _CANNOT_BE as error:
            refused = _refused(error, kwargs)
            if not refused:
                raise SettingsError(f"{_KEY}.MODEL {options.MODEL} cannot be built: {_line(error)}") from error
            left_out += refused
            kwargs = {key: value for key, value in kwargs.items() if key not in refused}
        else:
            break
    if "drop_path_rate" in left_out and options.DROP_PATH > 0:
        raise SettingsError(
            f"{_KEY}.DROP_PATH {options.DROP_PATH}: {options.MODEL} has no stochastic depth; set it to 0"
        )
    if "output_stride" in left_out and options.RESAMPLE == "stride":
        raise SettingsError(f"{_KEY}.RESAMPLE stride: {options.MODEL} has its strides; set it to upsample")
    return model


def _refused(error: Exception, kwargs: dict) -> list[str]:
    """The arguments that a family does not take; none where the error is another."""
    _, unexpected, names = str(error).partition("unexpected keyword argument")
    if unexpected:
        return [name for name in re.findall(r"'(\w+)'", names) if name in kwargs and name != "num_classes"]
    return ["output_stride"] if "output_stride" in kwargs else []


def _windows(family: str) -> dict[str, bool]:
    """Swin keeps its windows of 7 at any size of images, so that weights of any size fit."""
    return {"always_partition": True, "strict_img_size": False} if family == "swin_transformer" else {}


def _drop_path(rate: float, family: str) -> float:
    if rate >= 0:
        return rate
    return 0.0 if family in _CONVOLUTIONAL else _DROP_PATH


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
