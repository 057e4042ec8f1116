"""Values of VKD's published functions in float64 (tests/data/vkd.json), and the rule of their inputs."""

import json
from pathlib import Path

import numpy as np
import torch

GOLDEN = json.loads((Path(__file__).parent / "data/vkd.json").read_text())


def gen(rule: dict) -> torch.Tensor:
    """Float64 by the rule that stands in the file: ``{"shape": ..., "a": ..., "b": ..., "scale": ...}``."""
    k = np.arange(np.prod(rule["shape"]), dtype=np.int64)
    values = rule["scale"] * (((7 * k * k + rule["a"] * k + rule["b"]) % 1009) / 1009 - 0.5)
    return torch.from_numpy(values.reshape(rule["shape"]))


def values(numbers) -> torch.Tensor:
    """Nested lists as float64."""
    return torch.tensor(numbers, dtype=torch.float64)


_INPUTS = GOLDEN["losses"]["inputs"]
TARGETS = torch.tensor(_INPUTS["labels"])
RESULTS = GOLDEN["losses"]["results"]


def inputs(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's and the student's "logits" ``[9, 7]`` or "emb" ``[9, 16]``, which take a gradient."""
    return tuple(gen(_INPUTS[f"{who}_{kind}"]).requires_grad_() for who in ("teacher", "student"))
