"""Takes from a weight file what a model can use, and says what was taken, what was left and what stays initialised."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fastreid.modeling.meta_arch import Distiller
from tabulate import tabulate
from torch import nn

from mdpr_fastreid.errors import SettingsError, UsageError, printable
from mdpr_fastreid.weights.architectures import architecture_of, blocks_of, in_one_piece
from mdpr_fastreid.weights.files import read_checkpoint
from mdpr_fastreid.weights.integrity import check_sha256
from mdpr_fastreid.weights.kinds import Recognised, known_kinds, recognise, summarised

logger = logging.getLogger("fastreid.weights")

# First pattern that a name begins with; a model's name otherwise counts under its first part
_PARTS = (
    (r"backbone\.trunk\.", "trunk: stem, stages 1 and 2"),
    (r"backbone\.(?P<branch>hard|soft)\.stage(?P<stage>\d)\.", "{branch} branch: stage {stage}"),
    (r"backbone\.(conv1|bn1)\.", "backbone: stem"),
    (r"backbone\.layer(?P<stage>\d)\.", "backbone: stage {stage}"),
    (r"backbone\.", "backbone"),
    (r"(?P<branch>hard|soft)\.", "{branch} branch: embeddings"),
    (r"heads\.fusion\.", "fusion"),
    (r"heads\.(predictors|branch_losses)\.", "distillation"),
    (r"heads\.", "heads"),
)


_NO_NAME = "of a kind of its own"
_SIZES = "it was trained on other images or patches: set INPUT.SIZE_TRAIN and MODEL.BACKBONE.STRIDE_SIZE as then"
_REGISTERS = (
    "is DINOv2 with registers as its authors give it, whose positions timm arranges otherwise: take timm's file of the "
    'same weights, by MODEL.BACKBONE.PRETRAIN_PATH "" and the name with its tag (vit_small_patch14_reg4_dinov2.lvd142m)'
)
_CAMERAS = "sie_embed"
"""The embeddings of cameras, a row each, in every model that has them."""

Resize = Callable[[str, torch.Tensor], torch.Tensor]


class Fit(NamedTuple):
    """How a state dict and a model fit together; names are the model's, but in ``left``."""

    recognised: Recognised
    taken: dict[str, torch.Tensor]
    missing: list[str]
    other_shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """Shapes in the file and in the model."""
    left: list[str]
    """The file's names that the model has no use for."""
    sought: dict[str, str]
    """What each of the model's names is called where the file is recognised: MDPR's pieces by a whole backbone's."""


def load_backbone(backbone: nn.Module, path: Path | str, sha256: str = "", resized: Resize | None = None) -> Fit:
    """Start one of FastReID's backbones from a weight file of any known kind, and log what came of it.

    Args:
        backbone: changed in place.
        path: the file, as :func:`~mdpr_fastreid.weights.read_checkpoint` takes it.
        sha256: what ``MODEL.BACKBONE.PRETRAIN_SHA256`` pins.
        resized: gets the name and the value of a weight that has another shape, and may return one that fits.

    Raises:
        UsageError: the file cannot be read or is another one, has another architecture, a backbone's weights in
            another shape, or matches under half of the backbone.
    """
    digest = check_sha256(path, sha256, "MODEL.BACKBONE.PRETRAIN_SHA256")
    fit = _fitted(backbone, read_checkpoint(path)["model"], path, "backbone.", resized)
    _load(backbone, fit, path, digest, prefix="backbone.")
    return fit


def start_from(model: nn.Module, path: Path | str, sha256: str = "") -> dict[str, Any]:
    """Start training a model from a weight file of any known kind, and log what came of it.

    The averaged teacher of a ``Distiller`` (``KD.EMA``) becomes what its student is.

    Args:
        model: MDPR or any of FastReID's; changed in place.
        path: the file, as :func:`~mdpr_fastreid.weights.read_checkpoint` takes it.
        sha256: what ``MODEL.WEIGHTS_SHA256`` pins.

    Returns:
        What else the file holds (epoch, optimizer, ...).

    Raises:
        UsageError: as :func:`load_backbone`.
    """
    digest = check_sha256(path, sha256, "MODEL.WEIGHTS_SHA256")
    checkpoint = read_checkpoint(path)
    fit = _fitted(model, checkpoint.pop("model"), path, resized=_resizing(model))
    _load(model, fit, path, digest)
    if isinstance(model, Distiller) and model.ema_enabled:
        model.model_ts[0].load_state_dict(model.state_dict())
    return checkpoint


def _resizing(model: nn.Module) -> Resize:
    """What makes weights for other images fit: ``resized_weight`` of modules, of position embeddings in timm's."""
    owners = {name: module for name, module in model.named_modules() if hasattr(module, "resized_weight")}

    def resized(name: str, value: torch.Tensor) -> torch.Tensor:
        owner, _, entry = name.rpartition(".")
        return owners[owner].resized_weight(entry, value) if owner in owners else value

    return resized


def fit_to(model: nn.Module, state_dict: Mapping[str, Any], prefix: str = "", resized: Resize | None = None) -> Fit:
    """Find for each of a model's entries the weights that are meant for it.

    Buffers that a module of the model names in ``training_state`` are none of them: they stay as they are.

    Args:
        model: its names, with ``prefix`` before them, are those of a whole FastReID model.
        state_dict: tensors or NumPy arrays by name.
        prefix: ``"backbone."`` for a backbone alone.
        resized: as in :func:`load_backbone`.

    Raises:
        UsageError: the file is of a known kind, but not whole, or holds NaN or infinity where the model takes it.
    """
    state_dict = {name: torch.as_tensor(value) for name, value in state_dict.items()}
    recognised = recognise(state_dict, own=[prefix + name for name in model.state_dict()])
    taken, missing, other_shapes, used, sought = {}, [], {}, {}, {}
    aliases, of_training = _aliases(model, recognised, prefix), _training_state(model)
    for name, needed in model.state_dict().items():
        if name in of_training:
            continue
        full = prefix + name
        sought[full] = full if full in recognised.names else aliases.get(full, full)
        original = recognised.names.get(sought[full])
        if original is None:
            missing.append(full)
            continue
        value = state_dict[original]
        if change := recognised.changes.get(sought[full]):
            value = change(value)
        if resized is not None and value.shape != needed.shape:
            value = resized(name, value)
        if value.shape == needed.shape:
            taken[full] = value
        else:
            other_shapes[full] = tuple(value.shape), tuple(needed.shape)
        used[full] = original
    types = {prefix + name: needed.dtype for name, needed in model.state_dict().items()}
    if whole := [n for n, v in taken.items() if types[n].is_floating_point and not v.is_floating_point()]:
        kind = str(taken[whole[0]].dtype).removeprefix("torch.")
        raise UsageError(f"holds whole numbers ({kind}) where the model has floating-point weights, in {_some(whole)}")
    if broken := dict.fromkeys(used[n] for n, value in taken.items() if not _is_finite(value.to(types[n]))):
        raise UsageError(f"holds NaN or infinity, as of a training that diverged, in {_some(list(broken))}")
    originals = set(used.values())
    left = [name for name in state_dict if name not in originals]
    return Fit(recognised, taken, [name for name in missing if not _is_counter(name)], other_shapes, left, sought)


def _aliases(model: nn.Module, recognised: Recognised, prefix: str) -> dict[str, str]:
    """Other names that a model's backbone entries have in the file: MDPR's pieces of a whole backbone, or back."""
    backbone = model if prefix else getattr(model, "backbone", None)
    pieces = getattr(backbone, "names_in_whole", None)
    if pieces is not None:
        return {} if recognised.is_mdpr else {f"backbone.{own}": f"backbone.{whole}" for own, whole in pieces.items()}
    if not recognised.is_mdpr or backbone is None:
        return {}
    from mdpr_fastreid.modeling.backbones import BranchedBackbone

    frozen = [parameter for parameter in backbone.parameters() if not parameter.requires_grad]
    # What both branches have is the hard one's, as the last to be asked
    there = tuple(b for b in ("soft", "hard") if any(n.startswith(f"backbone.{b}.") for n in recognised.names))
    try:
        pieces = BranchedBackbone(backbone, there).names_in_whole
    except SettingsError:
        return {}
    finally:
        for parameter in frozen:  # a cut trains what it gives a map to
            parameter.requires_grad_(False)
    return {f"backbone.{whole}": f"backbone.{own}" for own, whole in pieces.items()}


def _fitted(
    model: nn.Module, state_dict: Mapping[str, Any], path: Path | str, prefix: str = "", resized: Resize | None = None
) -> Fit:
    try:
        fit = fit_to(model, state_dict, prefix, resized)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    wanted = _wanted(model, prefix)
    backbone = [name for name in wanted if name.startswith("backbone.")] or wanted
    matched = sum(name in fit.taken for name in backbone)
    wrong = [name for name in backbone if name in fit.other_shapes]
    mine, says = _architecture(backbone), f"{path}: {_described(fit.recognised)}"
    other_size = wrong and mine == fit.recognised.architecture
    names = (
        f"the file has {_some(list(state_dict))}; the model wants {_some([n for n in backbone if n in fit.missing])}"
    )
    if 2 * matched < len(backbone) and not other_size:
        way = f"Perhaps {_way_out(fit.recognised)}. " if fit.recognised.model else ""
        raise UsageError(
            f"{says} fits {matched} of the {len(backbone)} weights of the model's backbone ({mine}): {names}. "
            f"{way}Known kinds: {known_kinds()}"
        )
    if cameras := other_cameras(fit):
        raise UsageError(f"{path}: {cameras}")
    if any(name.endswith("register_tokens") for name in state_dict):
        raise UsageError(f"{path}: {_REGISTERS}")
    if wrong:
        given, needed = fit.other_shapes[wrong[0]]
        raise UsageError(
            f"{says} has another shape than the model's backbone ({mine}): {wrong[0]} is {list(given)} in the file and "
            f"{list(needed)} in the model{f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''}; "
            f"{_SIZES if other_size and wrong == _positions(wrong) else _way_out(fit.recognised)}"
        )
    if other := other_backbone(fit) or other_activation(fit, model):
        raise UsageError(f"{path}: {other}")
    return fit


def _positions(names: list[str]) -> list[str]:
    return [name for name in names if name.endswith("pos_embed")]


def other_cameras(fit: Fit) -> str:
    """Why embeddings of cameras do not fit; "" if they do, or there are none."""
    shapes = next((both for name, both in fit.other_shapes.items() if name.endswith(_CAMERAS)), None)
    if shapes is None or any(len(shape) != 3 for shape in shapes) or shapes[0][1:] != shapes[1][1:]:
        return ""
    return (
        f"{_described(fit.recognised)} has embeddings of {shapes[0][0]} cameras, and the model of {shapes[1][0]}: set "
        f"MODEL.BACKBONE.TIMM.CAMERAS to {shapes[0][0]}"
    )


def cameras_left(fit: Fit) -> str:
    """Why features would be others than those that weights were trained for: nothing takes their cameras; "" if not."""
    left = next((name for name in fit.left if name.endswith((_CAMERAS, "cv_embed"))), None)
    if left is None:
        return ""
    return (
        f"{_described(fit.recognised)} was trained with embeddings of cameras ({printable(left)}), and the model has "
        "none: set MODEL.BACKBONE.TIMM.CAMERAS to their number"
    )


def other_backbone(fit: Fit) -> str:
    """Why weights whose names and shapes fit are another backbone's; "" if they are not.

    A Swin transformer of SOLIDER has everything that timm's has, and a longer network what a shorter one has.
    """
    backbone = [name for name in fit.sought.values() if name.startswith("backbone.")]
    mine, theirs = _architecture(backbone), fit.recognised.architecture
    says, both = _described(fit.recognised), f"{mine} {theirs}"
    if theirs and mine not in (theirs, _NO_NAME) and both.count("ResNet-") < 2:
        return f"{says} is not what the model's backbone is ({mine}); {_way_out(fit.recognised)}"
    given, needed = (blocks_of(names) for names in (fit.recognised.names, backbone))
    for blocks in needed:
        if blocks.startswith("backbone.") and given.get(blocks, needed[blocks]) != needed[blocks]:
            counts = f"{len(given[blocks])} blocks in {blocks.removeprefix('backbone.')}"
            return f"{says} has {counts}, the model's backbone {len(needed[blocks])}; {_way_out(fit.recognised)}"
    return ""


def other_activation(fit: Fit, model: nn.Module) -> str:
    """Why features would be others than those that weights were trained for: their activation; "" if it is the same."""
    activations = {type(module).__name__ for module in model.modules()}
    if not fit.recognised.quick_gelu or "QuickGELU" in activations or "GELU" not in activations:
        return ""
    return (
        f"{_described(fit.recognised)} was trained with QuickGELU, and the model has GELU: set "
        f"MODEL.BACKBONE.TIMM.MODEL to {fit.recognised.model or 'a model with quickgelu in its name'}"
    )


def _described(recognised: Recognised) -> str:
    return f"{recognised.kind}{f', {recognised.architecture}' if recognised.architecture else ''}"


def _way_out(recognised: Recognised) -> str:
    if recognised.model:
        return f"set MODEL.BACKBONE.TIMM.MODEL to {recognised.model}"
    return "set MODEL.BACKBONE as the file is"


def _load(model: nn.Module, fit: Fit, path: Path | str, digest: str, prefix: str = "") -> None:
    incompatible = model.load_state_dict(
        {name.removeprefix(prefix): value for name, value in fit.taken.items()}, strict=False
    )
    assert not incompatible.unexpected_keys
    wanted = _wanted(model, prefix)
    incomplete = [name for name in fit.missing if name.startswith("backbone.")]
    logger.info(report(fit, wanted, path, digest))
    if incomplete:
        logger.warning(
            f"{path} ({fit.recognised.architecture or fit.recognised.kind}) lacks {len(incomplete)} weights of the "
            f"backbone ({_architecture(wanted)}), which stay as initialised: {_some(incomplete)}"
        )


def report(fit: Fit, wanted: list[str], path: Path | str, digest: str) -> str:
    """The table of what was taken, what was left and what stays as it was initialised.

    Args:
        fit: of the file to the model.
        wanted: the model's names, counters of batches left out.
        path: the file.
        digest: its SHA-256.
    """
    total = Counter(part_of(name) for name in wanted)
    taken = Counter(part_of(name) for name in fit.taken if not _is_counter(name))
    missing = Counter(part_of(name) for name in fit.missing)
    shapes = Counter(part_of(name) for name in fit.other_shapes)
    rows = [(part, f"{taken[part]}/{count}", missing[part] or "", shapes[part] or "") for part, count in total.items()]
    table = tabulate(
        rows,
        headers=["part", "taken", "stays initialised: not in the file", "of another shape"],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=("left", "right", "right", "right"),
    )
    recognised = fit.recognised
    lines = [
        f"Weights from {path}",
        f"kind: {recognised.kind}{f'; {recognised.architecture}' if recognised.architecture else ''}",
        f"SHA-256: {digest}",
        table,
        f"left in the file: {summarised(fit.left) or 'nothing'}",
    ]
    if fit.other_shapes:
        first = list(fit.other_shapes.items())[:3]
        shapes = "; ".join(f"{name} {list(given)}, here {list(needed)}" for name, (given, needed) in first)
        more = len(fit.other_shapes) - len(first)
        lines.append(f"of another shape, so not taken: {shapes}{f' and {more} more' if more else ''}")
    return "\n".join(lines)


def part_of(name: str) -> str:
    """The part of a model that an entry belongs to, in words."""
    for pattern, part in _PARTS:
        if match := re.match(pattern, name):
            return part.format(**match.groupdict())
    return name.partition(".")[0]


def _architecture(names: list[str]) -> str:
    """What the model's backbone is, from its names; MDPR's pieces read as stages."""
    return architecture_of(dict.fromkeys(in_one_piece(names))) or _NO_NAME


def _wanted(model: nn.Module, prefix: str) -> list[str]:
    """The entries that a weight file should have."""
    of_training = _training_state(model)
    return [prefix + name for name in model.state_dict() if name not in of_training and not _is_counter(name)]


def _training_state(model: nn.Module) -> set[str]:
    """The entries that only a resumed training goes on from: what modules name in ``training_state``."""
    return {
        f"{module}.{name}" if module else name
        for module, of in model.named_modules()
        for name in getattr(of, "training_state", ())
    }


def _is_counter(name: str) -> bool:
    """Batch norm's counters: nothing depends on them, and old files have none."""
    return name.endswith("num_batches_tracked")


def _is_finite(value: torch.Tensor) -> bool:
    """Whether there is neither NaN nor infinity: both stay in a sum, and in float64 nothing else overflows."""
    return bool(torch.isfinite(value.sum(dtype=torch.float64)))


def _some(names: list[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return printable(", ".join(names[:shown])) + more or "nothing"
