"""From a config to a model, of any registered architecture."""

import contextlib
import contextvars
import functools
import logging
from collections.abc import Iterator

import torch
from fastreid.config import CfgNode
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Distiller
from torch import nn

from mdpr_fastreid.config.keys import value_of
from mdpr_fastreid.modeling.backbones.build import with_any_weights
from mdpr_fastreid.modeling.cameras import see_cameras
from mdpr_fastreid.modeling.channels_last import store_channels_last
from mdpr_fastreid.modeling.fitting import check_heads
from mdpr_fastreid.modeling.heads.before_neck import head_for_test

_builds_a_distiller = contextvars.ContextVar("_builds_a_distiller", default=False)


def build_model(cfg: CfgNode) -> nn.Module:
    """The model of ``MODEL.META_ARCHITECTURE``, MDPR or any other, on ``MODEL.DEVICE``, or the CPU without CUDA.

    Its backbone starts from ``MODEL.BACKBONE.PRETRAIN``'s weights, see
    :func:`mdpr_fastreid.modeling.backbones.build_backbone`. FastReID's ``Distiller`` takes MDPR as its student and as
    a teacher.

    Args:
        cfg: a run's config; it stays as it is.

    Raises:
        UsageError: settings contradict each other, or the pretrained weights are missing or do not fit.
        KeyError: an architecture, backbone, head or loss is registered under no such name.
    """
    cfg = with_any_weights(_with_distillable_architecture(on_available_device(cfg)))
    cfg = _changed(cfg, "HEADS.NAME", head_for_test(cfg))
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    with _building(architecture):
        model = architecture(cfg)
    check_heads(cfg, model)
    see_cameras(model)
    if cfg.MODEL.get("CHANNELS_LAST", False):  # a config from before the import has no such key
        store_channels_last(model)
    return model.to(torch.device(cfg.MODEL.DEVICE))


def on_available_device(cfg: CfgNode) -> CfgNode:
    """The config itself, or a copy that says ``MODEL.DEVICE cpu`` if it asks for a CUDA that is not there."""
    if torch.device(cfg.MODEL.DEVICE).type != "cuda" or torch.cuda.is_available():
        return cfg
    _warn_once(cfg.MODEL.DEVICE)
    return _changed(cfg, "DEVICE", "cpu")


@functools.cache
def _warn_once(device: str) -> None:
    logging.getLogger("fastreid").warning(
        f"MODEL.DEVICE is {device}, but PyTorch finds no CUDA device here: using the CPU"
    )


def _with_distillable_architecture(cfg: CfgNode) -> CfgNode:
    """MDPR's own classes where ``Distiller`` builds a student, or a teacher, with MDPR's head.

    ``Distiller`` writes ``Baseline`` into the config of every teacher, and of its moving average.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    role = {"Distiller": "MDPRDistiller"} | ({"Baseline": "DistillableMDPR"} if _builds_a_distiller.get() else {})
    if name not in role or not hasattr(REID_HEADS_REGISTRY.get(cfg.MODEL.HEADS.NAME), "wanted_readings"):
        return cfg
    return _changed(cfg, "META_ARCHITECTURE", role[name])


@contextlib.contextmanager
def _building(architecture: object) -> Iterator[None]:
    """Let :func:`build_model` know, when it is called inside, that it builds a teacher."""
    distils = isinstance(architecture, type) and issubclass(architecture, Distiller)
    token = _builds_a_distiller.set(distils)
    try:
        yield
    finally:
        _builds_a_distiller.reset(token)


def _changed(cfg: CfgNode, key: str, value: str) -> CfgNode:
    """A config with this value in ``MODEL``: itself, or a copy."""
    if value_of(cfg.MODEL, key) == value:
        return cfg
    frozen = cfg.is_frozen()
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list([f"MODEL.{key}", value])
    if frozen:
        cfg.freeze()
    return cfg
