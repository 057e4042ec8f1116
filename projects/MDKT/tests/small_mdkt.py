"""Small configs, networks and batches that the tests share."""

from pathlib import Path

import mdkt  # noqa: F401  (registers the method, in a process of its own too)
import torch
from fastreid.config import CfgNode

from mdpr_fastreid.config import read_config
from mdpr_fastreid.modeling import build_model

PROJECT = Path(__file__).parents[1]
CONFIGS = PROJECT / "configs"

_SMALL = [
    *("MODEL.DEVICE", "cpu", "MODEL.HEADS.NAME", "FrameHead", "MODEL.HEADS.NUM_CLASSES", 3),
    *("MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.LAST_STRIDE", 1, "MODEL.BACKBONE.PRETRAIN", False),
    *("INPUT.FIELDS", ("clip",), "INPUT.CLIP.FRAMES", 4, "INPUT.SIZE_TRAIN", [32, 16], "INPUT.SIZE_TEST", [32, 16]),
]


def config(architecture: str = "MDKT", *overrides) -> CfgNode:
    """ResNet-18 at 32x16, clips of 4 frames, 3 identities; of ``overrides``, ``MDKT.`` is short for ``MODEL.MDKT.``."""
    keys = [f"MODEL.{word}" if isinstance(word, str) and word.startswith("MDKT.") else word for word in overrides]
    return read_config("", ["MODEL.META_ARCHITECTURE", architecture, *_SMALL, *keys])


def model_of(architecture: str = "MDKT", *overrides, seed: int = 0, exact: bool = False) -> torch.nn.Module:
    """A network of :func:`config` in training mode; ``exact`` in float64."""
    torch.manual_seed(seed)
    model = build_model(config(architecture, *overrides)).train()
    return model.double() if exact else model


def batch_of(identities: int = 3, instances: int = 2, frames: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    """Noise: clips ``[B, T, 3, 32, 16]``, images, targets."""
    rng = torch.Generator().manual_seed(seed)
    count = identities * instances
    return {
        "clips": torch.rand(count, frames, 3, 32, 16, generator=rng) * 255,
        "images": torch.rand(count, 3, 32, 16, generator=rng) * 255,
        "targets": torch.arange(identities).repeat_interleave(instances),
        "camids": torch.arange(count) % instances,
    }


def gradients(model: torch.nn.Module, losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of the sum of losses, by the names of the parameters; without those that get none."""
    model.zero_grad(set_to_none=True)
    sum(losses.values()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def train_steps(model: torch.nn.Module, steps: int = 5, rate: float = 1e-3) -> None:
    """A few steps of Adam on noise."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    for step in range(steps):
        optimizer.zero_grad()
        sum(model(batch_of(seed=step)).values()).backward()
        optimizer.step()
