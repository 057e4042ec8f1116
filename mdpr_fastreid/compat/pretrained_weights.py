"""``MODEL.BACKBONE.PRETRAIN True`` downloads weights without asking, and offline ends in a traceback, always.

Here the download is tried, and if the file is not there afterwards one error names it, the folder it belongs
in and the option to train without. A half-written file is never left under the final name. Can go when
FastReID reports a failed download.
"""

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build as backbones_build
from fastreid.modeling.backbones import mobilenetv3

from mdpr_fastreid.compat.replacing import replace
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import load_weight_file


def apply() -> None:
    """Build backbones with a download and a ``torch.load`` that report what is wrong with a file."""
    stock_build_backbone = backbones_build.build_backbone

    def build_backbone(cfg: CfgNode) -> torch.nn.Module:
        options = cfg.MODEL.BACKBONE
        if not options.PRETRAIN:
            return stock_build_backbone(cfg)
        if options.PRETRAIN_PATH and not os.path.isfile(options.PRETRAIN_PATH):
            raise UsageError(f"MODEL.BACKBONE.PRETRAIN_PATH {options.PRETRAIN_PATH}: no such file; {_WITHOUT}")
        with _reporting_loads():
            return stock_build_backbone(cfg)

    replace(backbones_build, "build_backbone", build_backbone)
    mobilenetv3.load_state_dict_from_url = load_from_url


_WITHOUT = "MODEL.BACKBONE.PRETRAIN False trains from random weights"


def load_from_url(url: str, **_: Any) -> dict:
    """The state dict at an address, through the cache of ``torch.hub``.

    Raises:
        UsageError: the file is neither in the cache nor can it be fetched, or it is truncated.
    """
    path = os.path.join(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not os.path.exists(path):
        download(url, path)
    return load_weight_file(path)


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
def _reporting_loads() -> Iterator[None]:
    """For as long as one backbone is built: its builders look up these names when they run."""
    stock_load, stock_from_url = torch.load, torch.hub.load_state_dict_from_url
    stock_gdown = importlib.import_module("gdown") if importlib.util.find_spec("gdown") else None
    torch.load = lambda path, **_: load_weight_file(path, stock_load)
    torch.hub.load_state_dict_from_url = load_from_url
    sys.modules["gdown"] = ModuleType("gdown")
    sys.modules["gdown"].download = functools.partial(download, gdown=stock_gdown)
    try:
        yield
    finally:
        torch.load, torch.hub.load_state_dict_from_url = stock_load, stock_from_url
        del sys.modules["gdown"]
        if stock_gdown is not None:
            sys.modules["gdown"] = stock_gdown
