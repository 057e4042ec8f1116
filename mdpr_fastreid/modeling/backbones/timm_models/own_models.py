"""Models of our own under names of timm's registry: ``timm.create_model`` builds them as it builds timm's."""

import functools
from collections.abc import Callable

from timm.models import register_model
from torch import nn


def own_model(create: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Register a function that builds a model, under its name.

    Args:
        create: takes timm's usual arguments (``img_size``, ``num_classes``, ``drop_path_rate``, ...) by keyword.
    """

    @functools.wraps(create)
    def entrypoint(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **kwargs):
        if pretrained:
            raise ValueError(f"{create.__name__} has no weights at timm's; set MODEL.BACKBONE.PRETRAIN_PATH")
        return create(**kwargs)

    return register_model(entrypoint)
