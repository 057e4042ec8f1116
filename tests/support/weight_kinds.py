"""Weight files of every kind, a few kilobytes each: every tensor is one number, seen through its shape."""

import argparse
from collections.abc import Mapping

import numpy as np
import torch
import torchvision

WRONG = -7.0
"""What a network holds that must not be taken."""


def numbered(shapes: Mapping[str, torch.Tensor], start: float = 1.0) -> dict[str, torch.Tensor]:
    """Tensors of the same names and shapes, each with a number of its own in all its places."""
    return {
        name: torch.full((1,) * value.ndim, start + i).expand(value.shape)
        for i, (name, value) in enumerate(shapes.items())
    }


def other_network(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names and shapes of a state dict, filled with ``WRONG``."""
    return {name: torch.full((1,) * value.ndim, WRONG).expand(value.shape) for name, value in state_dict.items()}


def resnet(depth: int = 18) -> dict[str, torch.Tensor]:
    """A torchvision ResNet's, classifier included."""
    with torch.device("meta"):
        shapes = getattr(torchvision.models, f"resnet{depth}")().state_dict()
    return numbered(shapes)


def under(prefix: str, state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict, a prefix before its names."""
    return {prefix + name: value for name, value in state_dict.items()}


def _headless(state_dict: dict) -> dict:
    return {name: value for name, value in state_dict.items() if not name.startswith("fc.")}


def _in_a_sequence(state_dict: dict) -> dict:
    numbers = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    parts = [(name.partition("."), value) for name, value in _headless(state_dict).items()]
    return {f"backbone.{numbers[first]}.{rest}": value for (first, _, rest), value in parts}


_PLAIN = resnet()
_WRONG = other_network(_PLAIN)
_HEAD = {"head.mlp.0.weight": torch.zeros(3, 3)}

FILES = {
    "torchvision": (_PLAIN, "ResNet classifier (torchvision, timm)"),
    "of before PyTorch 0.4": (
        {name: value for name, value in _PLAIN.items() if "num_batches" not in name},
        "ResNet classifier (torchvision, timm)",
    ),
    "timm, under state_dict": ({"state_dict": _PLAIN, "arch": "resnet18"}, "ResNet classifier (torchvision, timm)"),
    "DataParallel": ({"state_dict": under("module.", _PLAIN)}, "ResNet classifier (torchvision, timm)"),
    "MoCo": (
        {
            "state_dict": {
                **under("module.encoder_k.", _WRONG),
                **under("module.encoder_q.", _PLAIN),
                "module.queue": torch.zeros(4, 4),
            },
            "epoch": np.int64(199),
            "args": argparse.Namespace(lr=0.03, schedule=[120, 160]),
        },
        "MoCo (LUPerson and others), query encoder (encoder_k, queue beside it: left)",
    ),
    "MoCo v3": (
        {"state_dict": {**under("module.base_encoder.", _PLAIN), **under("module.momentum_encoder.", _WRONG)}},
        "MoCo v3, base encoder (momentum_encoder beside it: left)",
    ),
    "DINO": (
        {
            "student": under("module.backbone.", _WRONG),
            "teacher": {**under("backbone.", _headless(_PLAIN)), **_HEAD},
            "epoch": 800,
        },
        "self-distillation (DINO and others), teacher (student beside it: left)",
    ),
    "BYOL": (
        {**under("online_encoder.net.", _PLAIN), **under("target_encoder.net.", _WRONG)},
        "BYOL, online encoder (target_encoder beside it: left)",
    ),
    "SwAV": (
        under("module.", {**_headless(_PLAIN), "projection_head.0.weight": torch.zeros(2, 2)}),
        "backbone; ResNet-18",
    ),
    "a ReID model's base": ({**under("base.", _headless(_PLAIN)), "classifier.weight": torch.zeros(2, 2)}, "backbone"),
    "a numbered sequence": (_in_a_sequence(_PLAIN), "backbone; ResNet-18"),
    "FastReID baseline": (
        {
            "model": {**under("backbone.", _headless(_PLAIN)), "heads.weight": torch.zeros(751, 512)},
            "optimizer": {"state": {}},
            "epoch": 119,
        },
        "FastReID model; ResNet-18",
    ),
}
"""A file's content and what the log calls it, by kind; all hold the weights of ``resnet()``."""
