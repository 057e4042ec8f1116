"""Values of BPBreID's published functions in float64 (tests/data/bpbreid.json), and the rule of their inputs."""

import json
from pathlib import Path

import numpy as np
import torch

GOLDEN = json.loads((Path(__file__).parent / "data/bpbreid.json").read_text())


def u(seed: int, *shape: int) -> torch.Tensor:
    """Values in -0.5 to 0.5, float64, by the rule that stands in the file."""
    index = np.arange(1, np.prod(shape) + 1, dtype=np.int64)
    return torch.from_numpy(((index * 7919 + index**2 * 31 + seed * 104729) % 1009 / 1009 - 0.5).reshape(shape))


def values(numbers) -> torch.Tensor:
    """Nested lists as float64."""
    return torch.tensor(numbers, dtype=torch.float64)
