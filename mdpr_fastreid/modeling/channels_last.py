"""Maps stored with channels last, of any architecture."""

import torch
from torch import nn

from mdpr_fastreid.errors import SettingsError


def store_channels_last(model: nn.Module) -> None:
    """Let a model's backbones get images with channels last in training, in place; weights stay as they are.

    The layout of a convolution's input is that of its output, so this decides for the whole network.

    Args:
        model: with a ``backbone``, as FastReID's architectures have, or with such models in it.

    Raises:
        SettingsError: it has none.
    """
    backbones = [module for name, module in model.named_modules() if name.rpartition(".")[2] == "backbone"]
    if not backbones:
        raise SettingsError(f"MODEL.CHANNELS_LAST is for models with a backbone, and {type(model).__name__} has none")
    for backbone in backbones:
        backbone.register_forward_pre_hook(_with_channels_last)


def _with_channels_last(backbone: nn.Module, inputs: tuple) -> tuple:
    """The arguments of a backbone: images, or images with their cameras, come first."""
    if not backbone.training:
        return inputs
    images, *others = inputs
    return images.to(memory_format=torch.channels_last), *others
