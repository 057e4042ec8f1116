"""What published transformers compute (tests/data/golden/solider_golden.json, vit_golden.json), and their weights."""

import json
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from support.golden import FOLDER
from support.settings import small_config
from torch import nn

from mdpr_fastreid.modeling.backbones import build_backbone
from mdpr_fastreid.weights import load_backbone

SOLIDER = json.loads((FOLDER / "solider_golden.json").read_text())
VIT = json.loads((FOLDER / "vit_golden.json").read_text())["cases"]


def weights(shapes: Mapping[str, list[int]]) -> dict[str, torch.Tensor]:
    """A published state dict, filled by the rule that stands in the files, in float64."""
    return {name: _entry(name, shape) for name, shape in shapes.items()}


def images(shape: list[int]) -> torch.Tensor:
    """The input of every case."""
    return torch.from_numpy(np.random.RandomState(0).standard_normal(shape))


def backbone(model: str, arguments: Mapping[str, object], size: tuple[int, int], *overrides) -> nn.Module:
    """Our model in float64 and evaluation mode, with random weights.

    Args:
        model: ``MODEL.BACKBONE.TIMM.MODEL``.
        arguments: ``MODEL.BACKBONE.TIMM.ARGS``.
        size: height and width of images.
        overrides: of the config.
    """
    pairs = tuple(part for pair in arguments.items() for part in pair)
    settings = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM.MODEL", model]
    settings += ["MODEL.BACKBONE.TIMM.ARGS", pairs, "INPUT.SIZE_TRAIN", list(size), "INPUT.SIZE_TEST", list(size)]
    torch.manual_seed(0)
    return build_backbone(small_config(*settings, *overrides)).double().eval()


def loaded(model: nn.Module, content: dict, folder) -> nn.Module:
    """The model with the weights of a file that has this content, through all that reads and translates files."""
    torch.save(content, folder / "weights.pth")
    load_backbone(model, folder / "weights.pth", resized=model.resized_weight)
    return model


def assert_golden(values: torch.Tensor, expected: Mapping[str, object], tolerance: float = 1e-9) -> None:
    """The numbers that are recorded of a tensor: its shape, norm and sum, first and last values."""
    assert list(values.shape) == expected["shape"]
    flat = values.flatten()
    found = {"norm": values.norm(), "sum": values.sum()}
    if len(expected["shape"]) == 4:
        found |= {"first6": values[0, :3, 0, :2].flatten(), "last_row4": values[-1, -4:, -1, -1]}
    else:
        found |= {"first8": flat[:8], "last4": flat[-4:]}
    assert found.keys() | {"shape"} == expected.keys()
    for key, value in found.items():
        recorded = torch.as_tensor(expected[key], dtype=torch.float64)
        torch.testing.assert_close(
            value, recorded, rtol=tolerance, atol=tolerance, msg=lambda text, k=key: f"{k}: {text}"
        )


def _entry(name: str, shape: list[int]) -> torch.Tensor:
    if name.endswith(("num_batches_tracked", "relative_position_index")):
        return torch.zeros(shape, dtype=torch.int64)
    normal = torch.from_numpy(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape))
    if len(shape) > 1:
        return 0.02 * normal
    if name.endswith("running_var"):
        return torch.exp(0.1 * normal)
    return 0.1 * normal if name.endswith(("bias", "running_mean")) else 1 + 0.1 * normal
