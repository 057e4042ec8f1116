"""Weights that are evaluated have to be those of the model: a network that is partly random still gives a table."""

import itertools
import logging
import re

from fastreid.utils.file_io import PathManager
from torch import nn

from mdpr_fastreid.errors import UsageError, printable
from mdpr_fastreid.weights.files import read_checkpoint
from mdpr_fastreid.weights.integrity import check_sha256
from mdpr_fastreid.weights.kinds import WRAPPERS
from mdpr_fastreid.weights.loading import Fit, cameras_left, fit_to, other_activation, other_backbone, other_cameras

_CLASSIFIER = re.compile(r"(.+\.)?(\w*heads?|embedding_heads\.\w+|classifier|classifiers\.\w+|fc)\.weight")
"""The weight of a classifier in FastReID's heads, in MDPR's and in those of the projects."""
_BRANCHES = ("hard", "soft")
_BESIDE_FEATURES = re.compile(
    r"(.+\.)?("
    r"\w*heads?\.weight|classifiers?|classifiers\.\w+|fc|head"  # classifiers
    r"|hard|soft|heads\.fusion|embedding_heads\.\w+"  # BRANCHES and FUSION: without a branch there are no heads on it
    r"|predictors|\w*loss(es)?|memory|queue\w*"  # distillation, losses, batches of the past
    r"|pixel_(mean|std))"
)
"""Parts that a model may lack, outside of its backbone: its features are the same, or the config reads fewer."""
_DERIVED = re.compile(r".*(num_batches_tracked|relative_position_index|relative_coords_table|attn_mask)")
"""Entries that follow from the architecture, and batch norm's counters: saved by some versions, and not by others."""
_BESIDE_LAYERS = re.compile(r"backbone\.((?!NL_)\w+|(fc|head|classifier)\..+|layers\.4)")
"""What other people's backbones have outside of their layers (norms, classifiers, SOLIDER's fourth controller)."""


def load_for_evaluation(model: nn.Module, path: str, sha256: str = "", *, with_classifiers: bool = False) -> None:
    """Load ``MODEL.WEIGHTS``, of any known kind, and make sure that nothing is left as it was initialised.

    A classifier for another number of identities is left out: it does not reach the features. So is what the file has
    for training only, or for branches and fused features that the config switches off.

    Args:
        model: what is evaluated.
        path: the weight file.
        sha256: what ``MODEL.WEIGHTS_SHA256`` pins.
        with_classifiers: whether classifiers have to fit, too, for a model whose logits are read.

    Raises:
        UsageError: the file cannot be read or is another one, lacks weights of the model, has them in another shape,
            or has further layers that the features depended on when it was trained.
    """
    local = PathManager.get_local_path(path)
    digest = check_sha256(local, sha256, "MODEL.WEIGHTS_SHA256")
    try:
        fit = fit_to(model, read_checkpoint(local)["model"])
    except UsageError as error:
        raise error if str(error).startswith(str(local)) else UsageError(f"{path}: {error}") from error
    classifiers = set() if with_classifiers else _classifiers_of_others(fit)
    if cameras := other_cameras(fit) or cameras_left(fit):
        raise UsageError(f"{path}: {cameras}")
    missing = [name for name in (*fit.missing, *fit.other_shapes) if name not in classifiers]
    if missing:
        raise UsageError(
            f"{path} ({fit.recognised.kind}): does not fit the model, which needs {_first(missing)} "
            "(missing, or of another shape); give the config that these weights were trained with"
        )
    if other := other_backbone(fit) or other_activation(fit, model):
        raise UsageError(f"{path}: {other}")
    if further := _further_layers(fit, model):
        raise UsageError(
            f"{path} ({fit.recognised.kind}): was trained with {_first(further)}, which the model does not have; give "
            "the config that these weights were trained with (config.yaml beside them)"
        )
    model.load_state_dict(fit.taken, strict=False)
    logging.getLogger("fastreid").info(f"Evaluating the weights of {path}: {fit.recognised.kind}, SHA-256 {digest}")


def _classifiers_of_others(fit: Fit) -> set[str]:
    """The model's classifiers that the file has for another number of identities."""
    return {
        name
        for name, (given, needed) in fit.other_shapes.items()
        if len(given) == len(needed) == 2
        and given[1:] == needed[1:]
        and _CLASSIFIER.fullmatch(name)
        and "backbone" not in name.split(".")
    }


def _further_layers(fit: Fit, model: nn.Module) -> list[str]:
    """What the file's features depend on, and the model has nothing of: ``["backbone.layer1.0.se", ...]``.

    Of a file with the model's own names that is all but what may be switched off. In somebody else's, only what lies
    inside of the backbone's layers: what is beside them is not known.
    """
    known = {part for name in model.state_dict() for part in _parts(name)}
    ours: dict[str, list[str]] = {}
    for name, original in fit.recognised.names.items():
        ours.setdefault(original, []).append(name)
    own = fit.recognised.is_mdpr or all(
        _unwrapped(fit.recognised.names[fit.sought[name]]) == name for name in fit.taken
    )
    further = {}
    for original in fit.left:
        names = ours.get(original, [])
        if _DERIVED.fullmatch(original) or not known.isdisjoint(names):
            continue
        for name in names[:1] if own else names:
            part = next(part for part in _parts(name) if part not in known)
            if not _may_be_lacking(part) if own else _is_layer_of_backbone(part):
                further[part] = True
    return list(further)


def _parts(name: str) -> list[str]:
    """``a.b.weight`` -> ``a``, ``a.b``, ``a.b.weight``."""
    return list(itertools.accumulate(name.split("."), "{}.{}".format))


def _may_be_lacking(part: str) -> bool:
    _, backbone, inside = f".{part}".partition(".backbone.")
    return inside in _BRANCHES if backbone else _BESIDE_FEATURES.fullmatch(part) is not None


def _is_layer_of_backbone(part: str) -> bool:
    return part.startswith("backbone.") and not _BESIDE_LAYERS.fullmatch(part)


def _unwrapped(name: str) -> str:
    while wrapper := next((wrapper for wrapper in WRAPPERS if name.startswith(wrapper)), ""):
        name = name.removeprefix(wrapper)
    return name


def _first(names: list[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return printable(", ".join(names[:shown])) + more
