"""Rebuilds the published implementation's weights and our model around them (see data/golden/README.md)."""

import json
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from fastreid.config import CfgNode, get_cfg
from fastreid.modeling import build_model
from torch import nn

from mdpr_fastreid import add_mdpr_config
from mdpr_fastreid.weights.published import from_official

FOLDER = Path(__file__).parent.parent / "data" / "golden"
CASES = ("mdpr_r50ibn_default", "mdpr_r18_attn3_part3_unguided_plain")


class Golden(NamedTuple):
    """One case: what it was computed with, and what came out."""

    spec: dict
    values: dict[str, np.ndarray]
    state_dict: dict[str, torch.Tensor]


def load(case: str) -> Golden:
    """Read a case and fill its published state dict, in float64."""
    spec = json.loads((FOLDER / f"{case}.json").read_text())
    with np.load(FOLDER / f"{case}.npz") as values:
        return Golden(
            spec,
            dict(values),
            {name: torch.from_numpy(_entry(name, shape)) for name, shape in spec["state_dict"].items()},
        )


def config(spec: dict) -> CfgNode:
    """Our configuration for a case."""
    cfg = get_cfg()
    add_mdpr_config(cfg)
    heads, ce, tri = spec["heads"], spec["losses"]["ce"], spec["losses"]["tri"]
    settings = {
        "MODEL.META_ARCHITECTURE": "MDPR",
        "MODEL.DEVICE": "cpu",
        **{key: spec[key] for key in spec if key.startswith("MODEL.BACKBONE")},
        "MODEL.MDPR.EMBEDDING_DIM": spec["embedding_dim"],
        "MODEL.MDPR.PARTS": spec["parts"],
        "MODEL.MDPR.ATTENTION.MAPS": spec["attention_maps"],
        "MODEL.MDPR.ATTENTION.GUIDED": spec["attention_guided"],
        "MODEL.MDPR.ATTENTION.AREA_SCALE": spec["losses"]["attention_reg_scale"],
        "MODEL.MDPR.FUSION.ENABLED": spec["fusion"],
        "MODEL.MDPR.DISTILL.ENABLED": spec["mutual_distillation"],
        "MODEL.HEADS.NAME": "MDPRHead",
        **{
            f"MODEL.HEADS.{key}": heads[key]
            for key in ("NORM", "NUM_CLASSES", "WITH_BNNECK", "NECK_FEAT", "POOL_LAYER", "CLS_LAYER", "MARGIN", "SCALE")
        },
        "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
        "MODEL.LOSSES.CE.EPSILON": ce["EPSILON"],
        "MODEL.LOSSES.TRI.MARGIN": tri["MARGIN"],
        "MODEL.LOSSES.TRI.HARD_MINING": tri["HARD_MINING"],
        "MODEL.PIXEL_MEAN": spec["pixel_mean"],
        "MODEL.PIXEL_STD": spec["pixel_std"],
        "INPUT.SIZE_TRAIN": spec["image_hw"],
        "INPUT.SIZE_TEST": spec["image_hw"],
    }
    if not spec["fusion"]:
        settings["MODEL.MDPR.INFERENCE_FEATURES"] = ("hard_global", "hard_parts", "soft4", "soft3")
    cfg.merge_from_list([part for item in settings.items() for part in item])
    return cfg


def model(golden: Golden, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Our model with the case's weights."""
    built = build_model(config(golden.spec)).to(dtype)
    built.load_state_dict(from_official(golden.state_dict), strict=True)
    return built


def batch(golden: Golden, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """The case's images and identity labels, as FastReID's loaders give them."""
    images, targets = (torch.from_numpy(golden.values[key]) for key in ("images", "targets"))
    return {"images": images.to(dtype), "targets": targets}


def _entry(name: str, shape: list[int]) -> np.ndarray:
    rs = np.random.RandomState(zlib.crc32(name.encode()))
    last = name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    normal = rs.standard_normal(shape)
    if last in ("running_mean", "bias"):
        return 0.1 * normal
    if last == "running_var":
        return 1 + 0.1 * np.abs(normal)
    if last == "p":
        return 3.0 + 0.1 * normal
    if last == "weight" and len(shape) == 1:
        return 1 + 0.1 * normal
    return normal * np.sqrt(2 / np.prod(shape[1:]))
