"""The cut of a network whose children run one after the other: most of timm's."""

from collections import OrderedDict
from itertools import pairwise

from torch import nn

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.backbones.timm_models.layouts import ChannelsFirst, ChannelsLast, Layout

REDUCTIONS = (8, 16, 32)
"""Of the last three maps: images of 256 rows have 32, 16 and 8."""


def pieces(model: nn.Module, name: str) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """Trunk, stage 3 and stage 4: the model's own modules, in the order of its children.

    Args:
        model: one of timm's, whose ``feature_info`` names where its stages end.
        name: of the model, for the error.

    Raises:
        SettingsError: its stages are no such chain, or have other sizes.
    """
    ends = [entry["module"] for entry in model.feature_info[-3:]]
    links = _links(model)
    names = [link for link, _ in links]
    reductions = tuple(entry["reduction"] for entry in model.feature_info[-3:])
    if not (reductions in (REDUCTIONS, (8, 16, 16)) and all(end in names for end in ends)):
        raise not_a_chain(model, name)
    bounds = [0, *(names.index(end) + 1 for end in ends)]
    parts = [links[start:end] for start, end in pairwise(bounds)]
    # A name with a point cannot be a child's
    return tuple(nn.Sequential(OrderedDict((n.replace(".", "_"), m) for n, m in part)) for part in parts)


def behind_stages(model: nn.Module) -> list[str]:
    """Names of the children behind the last stage, such as a norm of a network whose blocks begin with theirs."""
    names, last = [name for name, _ in _links(model)], model.feature_info[-1]["module"]
    return names[names.index(last) + 1 :] if last in names else []


def not_a_chain(model: nn.Module, name: str) -> SettingsError:
    """The error about a model that cannot be cut."""
    maps = ", ".join(f"{entry['module']} (1/{entry['reduction']})" for entry in model.feature_info[-3:])
    return SettingsError(
        f"MODEL.BACKBONE.TIMM.MODEL {name} cannot be cut for MDPR: it needs stages that run one after the other and "
        f"maps of 1/8, 1/16 and 1/32 of the image, and the last ones here are {maps}. docs/reference/backbones.md has "
        "families that have been tried"
    )


def layout_of(model: nn.Module) -> Layout:
    """How the stages of a chain store their maps."""
    return ChannelsLast() if getattr(model, "output_fmt", "NCHW") == "NHWC" else ChannelsFirst()


def _links(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Children in order; a list of stages by its stages."""
    ends = {entry["module"] for entry in model.feature_info}
    links: list[tuple[str, nn.Module]] = []
    for name, child in model.named_children():
        listed = isinstance(child, nn.Sequential | nn.ModuleList)
        if listed and any(f"{name}.{key}" in ends for key, _ in child.named_children()):
            links += [(f"{name}.{key}", stage) for key, stage in child.named_children()]
        else:
            links.append((name, child))
    return links
