"""What folding gives: a network for evaluation only."""

import torch
from torch import nn

from mdpr_fastreid.modeling.brought import hand_on

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The types a folded network can compute in, by name."""


class Precision(nn.Module):
    """A boundary between precisions: casts, and stores four-dimensional features channels-last.

    Shapes:
        ``[B, C, h, w]`` -> the same.
    """

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.to(dtype=self.dtype, memory_format=torch.channels_last)

    def extra_repr(self) -> str:
        return str(self.dtype).removeprefix("torch.")


class FoldedNetwork(nn.Module):
    """Computes the features of the model it was folded from; it cannot be trained.

    What a model brings along for evaluation (:mod:`mdpr_fastreid.modeling.brought`), it has if the model has it.

    Args:
        network: the folded model, in evaluation mode.
        features: length of each part of the feature vector, by name, in order; empty where the model gives several
            tensors and says nothing about lengths.
    """

    def __init__(self, network: nn.Module, features: dict[str, int]):
        super().__init__()
        self.network = network
        self.features = features
        hand_on(network, self)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the network is; FastReID's predictor asks."""
        return self.network.device

    def train(self, mode: bool = True) -> "FoldedNetwork":
        """Stay in evaluation mode: there is nothing left to train."""
        return super().train(False)

    def forward(self, batched_inputs: dict | torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """Features ``[B, D]`` in float32; or several tensors by name, if that is what the model gives.

        Of these, floating-point ones are in float32, and others are as the model gives them. What is folded in float64
        gives float64.

        Args:
            batched_inputs: ``[B, 3, H, W]`` images (RGB, 0 to 255), or FastReID's batch, a dict with ``images``.
        """
        outputs = self.network(batched_inputs)
        if isinstance(outputs, dict):
            return {name: _single(value) if value.is_floating_point() else value for name, value in outputs.items()}
        return _single(outputs)


def _single(values: torch.Tensor) -> torch.Tensor:
    return values if values.dtype == torch.float64 else values.float()
