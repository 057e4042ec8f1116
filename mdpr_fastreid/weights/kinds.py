"""Which kind of checkpoint a state dict is, by its names, and what its entries are called in our models.

A new kind is a line in one of the tables: a prefix around a network, a file of a whole model, a release of weights; an
architecture (``architectures.py``), names and values that are translated (``translating.py``).
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch

from mdpr_fastreid.errors import UsageError, printable
from mdpr_fastreid.weights.architectures import CLIP, SOLIDER, architecture_of, blocks_of, has, in_one_piece
from mdpr_fastreid.weights.architectures import VISION_TRANSFORMER as VIT
from mdpr_fastreid.weights.architectures import WITH_STEM as VIT_WITH_STEM
from mdpr_fastreid.weights.translating import Change, translated

Weights = Mapping[str, torch.Tensor]
Names = dict[str, str]


class Recognised(NamedTuple):
    """A state dict, understood.

    Args:
        kind: in words, for people: what wrote the file and which of its networks is meant.
        names: our name -> the file's, a backbone's beginning with ``backbone.``.
        architecture: of the backbone, "" if unknown.
        is_mdpr: whether the backbone is in MDPR's pieces (``backbone.trunk``, ``backbone.hard``).
        changes: by our names, what becomes of values that we have in another order or shape.
        model: what ``MODEL.BACKBONE.TIMM.MODEL`` the file is for, "" if that is not known.
        quick_gelu: whether its layers are known to compute QuickGELU where others have GELU, which no weight shows.
    """

    kind: str
    names: Names
    architecture: str
    is_mdpr: bool = False
    changes: Mapping[str, Change] = {}
    model: str = ""
    quick_gelu: bool = False


class Wrapping(NamedTuple):
    """A prefix that names one network among several, or says nothing."""

    prefix: str
    kind: str
    """What the prefix tells of the file."""
    beside: str = ""
    """Pattern of the names of the networks that are left for it."""


_PAIR = "image encoder of a pair (CLIP-ReID and others)"
NETWORKS = (
    Wrapping("encoder_q.", "MoCo (LUPerson and others), query encoder", r"encoder_k\.|queue"),
    Wrapping("base_encoder.", "MoCo v3, base encoder", r"momentum_encoder\.|predictor\."),
    Wrapping("teacher.", "self-distillation (DINO and others), teacher", r"student\."),
    Wrapping("student.", "self-distillation, student"),
    Wrapping("online_network.", "BYOL, online network", r"target_network\."),
    Wrapping("online_encoder.", "BYOL, online encoder", r"target_encoder\."),
    Wrapping("online_net.", "BYOL, online network", r"target_net\."),
    Wrapping("target_encoder.", "a target encoder", r"context_encoder\.|predictor\."),
    Wrapping("image_encoder.", _PAIR, r"text_encoder\.|prompt_learner\."),
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


class Release(NamedTuple):
    """Weights that were published, by what only they have."""

    kind: str
    marks: tuple[str, ...]
    """Patterns that names of the backbone begin with; all of them have to be there."""
    positions: int = 0
    """Position embeddings, that of the class token included; 0 for any number."""


_OF_PERSONS = 1 + 16 * 8
RELEASES = (
    Release("SOLIDER", (r"semantic_embed_w\.",)),
    Release("Swin transformer of MMDetection", (r"stages\.0\.blocks\.0\.attn\.w_msa\.",)),
    Release("Swin transformer of its authors", (r"layers\.0\.downsample\.reduction\.",)),
    Release("TransReID-SSL (LUPerson), with its convolutional stem", (r"patch_embed\.conv\.0\.",)),
    Release("PersonViT", (r"(mask_token|masked_embed)$", r"cls_token$"), _OF_PERSONS),
    Release(
        "TransReID-SSL, PersonViT or another of 16 x 8 patches", (r"cls_token$", r"blocks\.0\.attn\."), _OF_PERSONS
    ),
    Release("CLIP", (r"class_embedding$",)),
)
"""The first that fits is it."""

_MODELS = {
    (SOLIDER, 96, 6): "solider_swin_tiny",
    (SOLIDER, 96, 18): "solider_swin_small",
    (SOLIDER, 128, 18): "solider_swin_base",
    (VIT_WITH_STEM, 384, 12): "transreid_ssl_ics_small",
    (VIT_WITH_STEM, 768, 12): "transreid_ssl_ics_base",
    (VIT, 384, 12): "vit_small_patch16_224",
    (VIT, 768, 12): "vit_base_patch16_224",
    (CLIP, 768, 12): "vit_base_patch16_clip_quickgelu_224",
    ("Swin transformer", 96, 6): "swin_tiny_patch4_window7_224",
    ("Swin transformer", 96, 18): "swin_small_patch4_window7_224",
    ("Swin transformer", 128, 18): "swin_base_patch4_window7_224",
}
"""Names of models by architecture, channels of a patch and blocks of the longest stage."""

_SEQUENCE = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_HEADS = {f"bottleneck.{entry}": f"heads.bottleneck.0.{entry}" for entry in ("weight", "bias")}
_HEADS |= {f"bottleneck.running_{entry}": f"heads.bottleneck.0.running_{entry}" for entry in ("mean", "var")}
_HEADS |= {"classifier.weight": "heads.weight"}
"""What SOLIDER's, TransReID's and their kin's training calls the neck and the classifier -> FastReID's heads."""


def known_kinds() -> str:
    """What :func:`recognise` understands, in one line."""
    return (
        "ResNets of torchvision, timm and IBN-Net; MoCo, MoCo v3, BYOL, DINO and other self-supervised checkpoints; "
        "SOLIDER, TransReID(-SSL), PersonViT, CLIP, CLIP-ReID; timm's models; "
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
        names = _unwrapped(_inside(names, wrapping.prefix)) | _necks(names)
    for kind, marks, renamed in _WHOLE_MODELS:
        if has(names, marks) and not networks:
            ours = renamed(names, state_dict)
            architecture = architecture_of(_of_backbone(ours))
            return Recognised(kind, ours, architecture, has(ours, (r"backbone\.trunk\.",)))
    return _backbone(names, networks, state_dict, own)


def _backbone(names: Names, networks: list[Wrapping], state_dict: Weights, own: Collection[str]) -> Recognised:
    """A backbone alone, or in somebody else's model."""
    peeled, architecture = _peeled(names)
    kind = _kind(peeled, architecture, networks, state_dict)
    if architecture and "bottleneck.weight" in names:
        kind += ", fine-tuned"
    if left := sorted({m[0] for w in networks if w.beside for n in state_dict if (m := re.search(w.beside, n))}):
        kind += f" ({', '.join(name.rstrip('.') for name in left)} beside it: left)"
    if architecture == "ResNet as a numbered sequence":
        peeled = {_renumbered(name): original for name, original in peeled.items()}
        architecture = architecture_of(peeled)
    peeled |= _last_block_of_transreid(names, peeled)
    ours, changes = translated(peeled, in_one_piece(own))
    # As they are, too: a model of the user's own, under names that nobody else knows
    found = {**names, **{mine: names[theirs] for theirs, mine in _HEADS.items() if theirs in names}}
    found |= {f"backbone.{name}": original for one in (peeled, ours) for name, original in one.items()}
    changes = {f"backbone.{name}": change for name, change in changes.items()}
    # CLIP-ReID and its kin go on from OpenAI's CLIP; of a CLIP alone nobody can tell whether it is OpenAI's
    quick_gelu = architecture == CLIP and any(wrapping.kind == _PAIR for wrapping in networks)
    return Recognised(kind, found, architecture, False, changes, _model(architecture, ours, state_dict), quick_gelu)


def _kind(peeled: Names, architecture: str, networks: list[Wrapping], state_dict: Weights) -> str:
    parts = [release.kind for release in RELEASES if _is(release, peeled, state_dict)][:1]
    parts += [networks[0].kind] if networks else []
    return ", ".join(parts) or _plain_kind(peeled, architecture)


def _is(release: Release, peeled: Names, state_dict: Weights) -> bool:
    if not has(peeled, release.marks):
        return False
    return not release.positions or (
        "pos_embed" in peeled and state_dict[peeled["pos_embed"]].shape[1:2] == (release.positions,)
    )


def _model(architecture: str, names: Names, state_dict: Weights) -> str:
    patches = names.get("patch_embed.proj.weight", "")
    if not patches or not (lists := blocks_of(names)):
        return ""
    channels, blocks = state_dict[patches].shape[0], max(len(numbers) for numbers in lists.values())
    return _MODELS.get((architecture, channels, blocks), "")


def _last_block_of_transreid(names: Names, peeled: Names) -> Names:
    """The last block and norm that TransReID trains: a copy beside the backbone, which has them as they were before."""
    if not has(names, (r"b1\.0\.attn\.", r"b1\.1\.weight")) or not (blocks := blocks_of(peeled).get("blocks")):
        return {}
    last = _inside(names, "b1.0.")
    return {
        **{f"blocks.{max(blocks)}.{name}": original for name, original in last.items()},
        **{f"norm.{name}": original for name, original in _inside(names, "b1.1.").items()},
    }


def _necks(names: Names) -> Names:
    """The neck, the classifier and CLIP-ReID's embeddings of cameras beside one network among several."""
    return {name: names[name] for name in (*_HEADS, "cv_embed") if name in names}


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


def _of_backbone(names: Names) -> Names:
    """A whole model's backbone under the names of one in a piece."""
    return dict.fromkeys(in_one_piece(name for name in names if name.startswith("backbone.")), "")


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
