"""Which kind of checkpoint a state dict is, by its names, and what its entries are called in FastReID's models.

A new kind is a line in one of the three tables: a prefix around a network, a file of a whole model, an architecture.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch

from mdpr_fastreid.errors import UsageError, printable

Weights = Mapping[str, torch.Tensor]
Names = dict[str, str]


class Recognised(NamedTuple):
    """A state dict, understood.

    Args:
        kind: in words, for people: what wrote the file and which of its networks is meant.
        names: FastReID's name -> the file's, a backbone's beginning with ``backbone.``.
        architecture: of the backbone, "" if unknown.
        is_mdpr: whether the backbone is in MDPR's pieces (``backbone.trunk``, ``backbone.hard``).
    """

    kind: str
    names: Names
    architecture: str
    is_mdpr: bool = False


class Wrapping(NamedTuple):
    """A prefix that names one network among several, or says nothing."""

    prefix: str
    kind: str
    """What the prefix tells of the file."""
    beside: str = ""
    """Pattern of the names of the networks that are left for it."""


NETWORKS = (
    Wrapping("encoder_q.", "MoCo (LUPerson and others), query encoder", r"encoder_k\.|queue"),
    Wrapping("base_encoder.", "MoCo v3, base encoder", r"momentum_encoder\.|predictor\."),
    Wrapping("teacher.", "self-distillation (DINO and others), teacher", r"student\."),
    Wrapping("student.", "self-distillation, student"),
    Wrapping("online_network.", "BYOL, online network", r"target_network\."),
    Wrapping("online_encoder.", "BYOL, online encoder", r"target_encoder\."),
    Wrapping("online_net.", "BYOL, online network", r"target_net\."),
    Wrapping("image_encoder.", "an image encoder of a pair"),
)
"""The network that each method's authors evaluate; what lies beside it is left."""

WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes of DataParallel and ``torch.compile``, around whole models."""

MEANINGLESS = (
    *WRAPPERS,
    *("model.", "backbone.", "base.", "base_model.", "encoder.", "net.", "network.", "trunk.", "0."),
    *("resnet.", "convnet.", "cnn.", "visual.", "feature_extractor.", "features."),
)
"""Prefixes around a backbone; they are taken away until an architecture shows."""

ARCHITECTURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("vision transformer", (r"(patch_embed\.|conv_proj\.|class_embedding)", r".*(blocks|layers)\.\D*0\.")),
    ("Swin transformer", (r"(layers|features)\.\d+\.(blocks\.)?\d+\.attn\.",)),
    ("ConvNeXt", (r"(downsample_layers\.|stages\.0\.(blocks\.)?0\.(conv_dw|dwconv))",)),
    ("RepVGG", (r"stage0\.rbr_",)),
    ("RegNet or EfficientNet of pycls", (r"s1\.b1\.", r"stem\.")),
    ("OSNet", (r"conv1\.conv\.weight", r"conv2\.0\.")),
    ("ShuffleNet", (r"first_conv\.", r"features\.")),
    ("ResNet as a numbered sequence", (r"0\.weight", r"4\.0\.conv1\.weight", r"7\.0\.conv1\.weight")),
    ("ResNeSt or ResNet-D (a stem of three convolutions)", (r"conv1\.0\.weight", r"layer1\.0\.conv1\.weight")),
    ("ResNet", (r"conv1\.weight", r"layer[1-4]\.0\.conv1\.weight")),
    ("MobileNet, EfficientNet or VGG", (r"(features\.0\.|conv_stem\.)",)),
)
"""Architectures by patterns that names begin with; all of them have to be there."""

_SEQUENCE = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_RESNET_BLOCKS = {(2, 2, 2, 2): "18", (3, 4, 6, 3): "34 50", (3, 4, 23, 3): "101", (3, 8, 36, 3): "152"}


def known_kinds() -> str:
    """What :func:`recognise` understands, in one line."""
    return (
        "ResNets of torchvision, timm and IBN-Net; MoCo, MoCo v3, BYOL, DINO and other self-supervised checkpoints; "
        "FastReID's models; MDPR, the published implementation's and ours"
    )


def recognise(state_dict: Weights, own: Collection[str] = ()) -> Recognised:
    """Tell what wrote a state dict, and translate its names.

    Args:
        state_dict: tensors by name.
        own: the names of the model it is for; a network that the model itself has is not taken out of the file.

    Raises:
        UsageError: it is the published MDPR's, but not whole.
    """
    names = _unwrapped({name: name for name in state_dict})
    known = [wrapping for wrapping in NETWORKS if not any(name.startswith(wrapping.prefix) for name in own)]
    networks = []
    while wrapping := next((w for w in known if any(name.startswith(w.prefix) for name in names)), None):
        networks.append(wrapping)
        names = _unwrapped(_inside(names, wrapping.prefix))
    for kind, marks, translated in _WHOLE_MODELS:
        if _has(names, marks) and not networks:
            ours = translated(names, state_dict)
            return Recognised(kind, ours, architecture_of(_backbone(ours)), _has(ours, (r"backbone\.trunk\.",)))
    peeled, architecture = _peeled(names)
    kind = networks[0].kind if networks else _plain_kind(peeled, architecture)
    if left := sorted({m[0] for w in networks if w.beside for n in state_dict if (m := re.search(w.beside, n))}):
        kind += f" ({', '.join(name.rstrip('.') for name in left)} beside it: left)"
    if architecture == "ResNet as a numbered sequence":
        peeled = {_renumbered(name): original for name, original in peeled.items()}
        architecture = architecture_of(peeled)
    # As they are, too: a model of the user's own, under names that nobody else knows
    backbone = {f"backbone.{name}": original for name, original in peeled.items()}
    return Recognised(kind, {**names, **backbone}, architecture)


def architecture_of(names: Mapping[str, object]) -> str:
    """The architecture that a backbone's names tell, ResNets with their depth; "" if it is none of those known."""
    found = next((kind for kind, marks in ARCHITECTURES if _has(names, marks)), "")
    if found != "ResNet":
        return found
    blocks = tuple(
        1 + max((int(m[1]) for n in names if (m := re.match(rf"layer{stage}\.(\d+)\.", n))), default=-1)
        for stage in (1, 2, 3, 4)
    )
    depth = _RESNET_BLOCKS.get(blocks, "")
    if " " in depth:
        depth = depth.split()["layer1.0.conv3.weight" in names]
    ibn = "-IBN" if any(".bn1.IN." in name for name in names) else ""
    return f"ResNet-{depth or 'of ' + str(blocks) + ' blocks'}{ibn}"


def _plain_kind(names: Mapping[str, object], architecture: str) -> str:
    if "-IBN" in architecture:
        return "backbone of IBN-Net"
    if architecture.startswith("ResNet-") and "fc.weight" in names:
        return "ResNet classifier (torchvision, timm)"
    return "backbone" if architecture else "unknown"


def _peeled(names: Names) -> tuple[Names, str]:
    """Take meaningless prefixes away until an architecture shows; as it was if none does."""
    remaining, inside = names, True
    while inside:
        if architecture := architecture_of(remaining):
            return remaining, architecture
        inside = max((_inside(remaining, prefix) for prefix in MEANINGLESS), key=len)
        remaining = inside
    return names, ""


def _unwrapped(names: Names) -> Names:
    while names and (wrapper := next((w for w in WRAPPERS if all(name.startswith(w) for name in names)), None)):
        names = _inside(names, wrapper)
    return names


def _inside(names: Names, prefix: str) -> Names:
    return {name.removeprefix(prefix): original for name, original in names.items() if name.startswith(prefix)}


def _has(names: Mapping[str, object], marks: tuple[str, ...]) -> bool:
    return all(any(re.match(mark, name) for name in names) for mark in marks)


def _backbone(names: Names) -> Names:
    """A whole model's backbone under its own names, MDPR's with those of a ResNet."""
    own = {name.removeprefix("backbone."): original for name, original in names.items() if name.startswith("backbone.")}
    own = {name.removeprefix("trunk."): original for name, original in own.items()}
    return {re.sub(r"^(hard|soft)\.stage([34])", r"layer\2", name): original for name, original in own.items()}


def _renumbered(name: str) -> str:
    number, dot, entry = name.partition(".")
    return _SEQUENCE.get(number, number) + dot + entry


def _as_they_are(names: Names, state_dict: Weights) -> Names:
    return dict(names)


def _published(names: Names, state_dict: Weights) -> Names:
    from mdpr_fastreid.weights.published import from_official

    try:
        ours = from_official({name: state_dict[original] for name, original in names.items()})
    except ValueError as error:
        raise UsageError(f"is a checkpoint of the published MDPR, but not a whole one: {error}") from None
    return dict(zip(ours, names.values(), strict=True))


_WHOLE_MODELS: tuple[tuple[str, tuple[str, ...], Callable[[Names, Weights], Names]], ...] = (
    ("MDPR", (r"backbone\.trunk\.",), _as_they_are),
    ("the published MDPR", (r"generate\.backbone\.",), _published),
    ("FastReID model", (r"backbone\.", r"heads\."), _as_they_are),
    ("FastReID MGN", (r"backbone\.", r"b1_head\."), _as_they_are),
)
"""Files of whole models: a name, patterns that must be there, and how the names become ours."""


def summarised(names: list[str], shown: int = 6) -> str:
    """Names by their first part, with counts: ``fc (2), encoder_k (320)``."""
    counts = Counter(name.removeprefix("module.").partition(".")[0] for name in names).most_common()
    parts = [f"{part} ({count})" for part, count in counts[:shown]]
    return printable(", ".join(parts)) + (f" and {len(counts) - shown} more parts" if len(counts) > shown else "")
