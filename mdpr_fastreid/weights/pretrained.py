"""Which file of pretrained weights a backbone of FastReID's or timm's starts from, and where it is."""

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import NamedTuple

import torch
from fastreid.config import CfgNode
from fastreid.utils import comm

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights.hub import file_of_timm
from mdpr_fastreid.weights.integrity import no_weight_file

WITHOUT = "MODEL.BACKBONE.PRETRAIN False trains from random weights"


class _Published(NamedTuple):
    """Where a builder of the toolbox's has its weights from."""

    module: str
    """Below ``fastreid.modeling.backbones``; its ``model_urls`` are addresses by name."""
    name: Callable[[CfgNode], str]
    """The name of a config's weights there, from ``MODEL.BACKBONE``."""
    file: str = ""
    """Name of the file, with the name of the weights in it; by default the address ends with it."""
    in_hub: bool = False
    """Whether it lies in the cache of ``torch.hub``, and not beside it."""


def _ibn_se(options: CfgNode) -> str:
    return f"{'se_' if options.WITH_SE else ''}{_ibn(options)}"


def _ibn(options: CfgNode) -> str:
    return f"{'ibn_' if options.WITH_IBN else ''}{options.DEPTH}"


def _depth(options: CfgNode) -> str:
    return options.DEPTH


_PUBLISHED = {
    "build_resnet_backbone": _Published("resnet", _ibn_se),
    "build_resnext_backbone": _Published("resnext", _ibn),
    "build_resnest_backbone": _Published("resnest", lambda options: f"resnest{options.DEPTH[:-1]}", in_hub=True),
    "build_osnet_backbone": _Published("osnet", lambda options: f"osnet_{_ibn(options)}", file="{}_imagenet.pth"),
    "build_regnet_backbone": _Published("regnet.regnet", _depth),
    "build_effnet_backbone": _Published("regnet.effnet", _depth),
    "build_mobilenetv3_backbone": _Published("mobilenetv3", _depth, in_hub=True),
}
_UNPUBLISHED = (
    "build_mobilenetv2_backbone",
    "build_repvgg_backbone",
    "build_shufflenetv2_backbone",
    "build_vit_backbone",
)
"""Builders that take a file of the user's only."""
_TIMM = "build_timm_backbone"


def loads_by_itself(cfg: CfgNode) -> bool:
    """Whether a backbone is somebody's own, who has said no ``PRETRAIN_PATH`` and so leaves the file to its builder."""
    options = cfg.MODEL.BACKBONE
    return not options.PRETRAIN_PATH and options.NAME not in (*_PUBLISHED, *_UNPUBLISHED, _TIMM)


def pretrained_file(cfg: CfgNode) -> str:
    """The file that ``MODEL.BACKBONE`` starts from: ``PRETRAIN_PATH``, or what FastReID or timm has an address of.

    The latter is downloaded, by one process a machine, where it is not in the folder that FastReID looks in.

    Raises:
        UsageError: there is no such file, nobody has one for this backbone, or it cannot be downloaded.
    """
    options = cfg.MODEL.BACKBONE
    if options.PRETRAIN_PATH:
        if not os.path.isfile(options.PRETRAIN_PATH):
            raise UsageError(
                f"MODEL.BACKBONE.PRETRAIN_PATH {no_weight_file(options.PRETRAIN_PATH)}; `mdpr prepare` says where "
                f"weights come from, and {WITHOUT}"
            )
        return options.PRETRAIN_PATH
    if options.NAME == _TIMM:
        url, file = file_of_timm(options.TIMM.MODEL)
        return _fetched(url, os.path.join(_torch_home(), "checkpoints", file))
    if options.NAME not in _PUBLISHED:
        raise UsageError(f"{options.NAME} has no pretrained weights: give MODEL.BACKBONE.PRETRAIN_PATH, or {WITHOUT}")
    published = _PUBLISHED[options.NAME]
    name = published.name(options)
    urls = importlib.import_module(f"fastreid.modeling.backbones.{published.module}").model_urls
    if name not in urls:
        raise UsageError(
            f"the toolbox knows no pretrained weights for this backbone, {options.NAME} with DEPTH {options.DEPTH} "
            f"({name!r}): give MODEL.BACKBONE.PRETRAIN_PATH, or {WITHOUT}"
        )
    file = published.file.format(name) or urls[name].rpartition("/")[2]
    return _fetched(
        urls[name], os.path.join(torch.hub.get_dir() if published.in_hub else _torch_home(), "checkpoints", file)
    )


def _fetched(url: str, path: str) -> str:
    """The path, at which the file is from now on."""
    if comm.get_local_rank() == 0 and not os.path.exists(path):
        download(url, path)
    comm.synchronize()
    return path


def download(url: str, path: str) -> None:
    """Fetch an address into a file, whole or not at all.

    Raises:
        UsageError: it cannot be fetched; the message names the file and its folder.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        if "drive.google.com" in url and importlib.util.find_spec("gdown"):
            importlib.import_module("gdown").download(url, path, quiet=True)
        else:
            torch.hub.download_url_to_file(url, path, progress=False)
    except Exception as error:
        folder, name = os.path.split(path)
        raise UsageError(
            f"pretrained weights {name} are not on this machine and cannot be fetched from {url} "
            f"({type(error).__name__}). Put the file into {folder}, or {WITHOUT}"
        ) from error


def _torch_home() -> str:
    """The folder above the cache of ``torch.hub``, where most of FastReID's builders look."""
    cache = os.getenv("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.getenv("TORCH_HOME", os.path.join(cache, "torch")))
