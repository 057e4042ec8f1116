"""``MODEL.BACKBONE.PRETRAIN True`` downloads weights without asking, and offline ends in a traceback, always.

Here the download is tried, and if the file is not there afterwards one error names it, the folder it belongs
in and the option to train without. A half-written file is never left under the final name. And a file is loaded
whatever kind it is of, or refused: every builder of the toolbox's takes what has its names, if that is nothing too.
Can go when FastReID reports a failed download, and weights that do not fit.
"""

import functools
import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build as backbones_build
from fastreid.modeling.backbones import mobilenetv3
from fastreid.modeling.backbones.vision_transformer import VisionTransformer, resize_pos_embed

from mdpr_fastreid.compat.replacing import replace
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import load_backbone


def apply() -> None:
    """Build backbones that start from files of any known kind, and report what is wrong with one."""
    stock_build_backbone = backbones_build.build_backbone

    def build_backbone(cfg: CfgNode) -> torch.nn.Module:
        options = cfg.MODEL.BACKBONE
        if not options.PRETRAIN:
            return stock_build_backbone(cfg)
        if options.PRETRAIN_PATH and not os.path.isfile(options.PRETRAIN_PATH):
            raise UsageError(f"MODEL.BACKBONE.PRETRAIN_PATH {options.PRETRAIN_PATH}: no such file; {_WITHOUT}")
        path = options.PRETRAIN_PATH or _file_of_the_toolbox(cfg, stock_build_backbone)
        backbone = stock_build_backbone(_without_weights(cfg))
        load_backbone(backbone, path, options.get("PRETRAIN_SHA256", ""), _resizing(backbone))
        return backbone

    replace(backbones_build, "build_backbone", build_backbone)


_WITHOUT = "MODEL.BACKBONE.PRETRAIN False trains from random weights"


class _Found(Exception):
    """Stops a builder of the toolbox's where it would read its weights: their path."""


def _file_of_the_toolbox(cfg: CfgNode, build_backbone: Callable) -> str:
    """The file of weights that a builder chooses by itself, downloaded if need be."""
    options = cfg.MODEL.BACKBONE
    try:
        with torch.random.fork_rng(devices=[]), _stopping_at_loads():
            build_backbone(cfg)
    except _Found as found:
        return found.args[0]
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"the toolbox knows no pretrained weights for this backbone, {options.NAME} with DEPTH {options.DEPTH} "
            f"({error}): give MODEL.BACKBONE.PRETRAIN_PATH, or {_WITHOUT}"
        ) from error
    raise UsageError(f"{options.NAME} has no pretrained weights: give MODEL.BACKBONE.PRETRAIN_PATH, or {_WITHOUT}")


def _without_weights(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    return cfg


def _resizing(backbone: torch.nn.Module) -> Callable[[str, torch.Tensor], torch.Tensor] | None:
    """Position embeddings of a vision transformer for another image size, as its builder makes them."""
    if not isinstance(backbone, VisionTransformer):
        return None

    def resized(name: str, value: torch.Tensor) -> torch.Tensor:
        if name != "pos_embed" or math.isqrt(value.shape[1] - 1) ** 2 != value.shape[1] - 1:
            return value
        grid = backbone.patch_embed
        return resize_pos_embed(value, backbone.pos_embed.data, grid.num_y, grid.num_x)

    return resized


def fetch(url: str, **_: Any) -> str:
    """The file of an address in the cache of ``torch.hub``, downloaded if it is not there.

    Raises:
        UsageError: it is neither in the cache nor can it be fetched.
    """
    path = os.path.join(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    return path if os.path.exists(path) else download(url, path)


def download(url: str, path: str, gdown: ModuleType | None = None, **_: Any) -> str:
    """Fetch ``url`` into ``path``, whole or not at all.

    Args:
        url: the address.
        path: the file to write.
        gdown: the library of that name, which Google Drive's addresses need.

    Raises:
        UsageError: it cannot be fetched; the message names the file and its folder.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        if gdown is not None and "drive.google.com" in url:
            gdown.download(url, path, quiet=True)
        else:
            torch.hub.download_url_to_file(url, path, progress=False)
    except Exception as error:
        folder, name = os.path.split(path)
        raise UsageError(
            f"pretrained weights {name} are not on this machine and cannot be fetched from {url} "
            f"({type(error).__name__}). Put the file into {folder}, or {_WITHOUT}"
        ) from error
    return path


@contextmanager
def _stopping_at_loads() -> Iterator[None]:
    """For as long as one backbone is built: its builders look up these names when they run."""
    stock_load, stock_from_url = torch.load, torch.hub.load_state_dict_from_url
    stock_mobilenet = mobilenetv3.load_state_dict_from_url
    stock_gdown = importlib.import_module("gdown") if importlib.util.find_spec("gdown") else None

    def stop(path: str, **_: Any) -> None:
        raise _Found(path)

    torch.load = stop
    torch.hub.load_state_dict_from_url = mobilenetv3.load_state_dict_from_url = lambda url, **_: stop(fetch(url))
    sys.modules["gdown"] = ModuleType("gdown")
    sys.modules["gdown"].download = functools.partial(download, gdown=stock_gdown)
    try:
        yield
    finally:
        torch.load, torch.hub.load_state_dict_from_url = stock_load, stock_from_url
        mobilenetv3.load_state_dict_from_url = stock_mobilenet
        del sys.modules["gdown"]
        if stock_gdown is not None:
            sys.modules["gdown"] = stock_gdown
