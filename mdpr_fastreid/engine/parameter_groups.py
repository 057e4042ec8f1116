"""Learning rates and weight decay of single parameters, on top of what FastReID's keys say.

Every function changes FastReID's groups in place, each of which has one parameter, ``lr`` and ``weight_decay``.
"""

from torch import nn

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.backbones import BranchedBackbone, parameter_depths

_BACKBONE = "backbone."
_NO_MATRICES = (
    *("cls_token", "reg_token", "dist_token", "pos_embed", "sie_embed"),
    *("relative_position_bias_table", "attention_biases", "logit_scale", "temperature", "gamma"),
)
"""Parameters with several dimensions that are nevertheless positions, tokens and scales, by the ends of their names."""

_TABLE_OF_SWIN_V2 = ".cpb_mlp."
"""The layers that compute its relative positions."""


def scale_by_model(groups: list[dict], model: nn.Module) -> None:
    """Multiply learning rates by a model's ``lr_factors``: by what names begin with.

    Raises:
        SettingsError: a factor for names that no trained parameter begins with.
    """
    names = _names(model)
    for start, factor in getattr(model, "lr_factors", {}).items():
        scaled = [group for group in groups if names[group["params"][0]].startswith(start)]
        if not scaled:
            raise SettingsError(
                f"{type(model).__name__}.lr_factors: no parameter that is trained begins with {start!r}"
            )
        for group in scaled:
            group["lr"] *= factor


def scale_backbone(groups: list[dict], model: nn.Module, factor: float, layer_decay: float) -> None:
    """Multiply learning rates of the backbone by a factor, and by ``layer_decay`` for each layer below the last.

    MDPR's copies of a stage are as deep as the stage. What was not in the backbone that was cut, such as a norm of
    stage 3, is no layer of it: it learns as the last layer does.

    Args:
        groups: FastReID's.
        model: with a ``backbone``.
        factor: ``SOLVER.BACKBONE_LR_FACTOR``.
        layer_decay: ``SOLVER.LAYER_DECAY`` (BEiT, Bao et al., ICLR 2022, appendix; as timm computes it).

    Raises:
        SettingsError: the model has no backbone, or the order of its layers is not known.
    """
    if factor == 1 and layer_decay == 1:
        return
    own = [(group, name) for group, name in _named(groups, model) if name.startswith(_BACKBONE)]
    if not own:
        raise SettingsError(
            f"SOLVER.BACKBONE_LR_FACTOR {factor} and SOLVER.LAYER_DECAY {layer_decay}: {type(model).__name__} has no "
            "backbone that is trained; set both to 1"
        )
    depths = _depths(model.backbone) if layer_decay != 1 else {}
    if depths is None:
        kind = getattr(model.backbone, "kind_of_whole", type(model.backbone).__name__)
        raise SettingsError(
            f"SOLVER.LAYER_DECAY {layer_decay}: the order of the layers of {kind} is not "
            "known; set it to 1, or take a backbone whose layers are (docs/reference/backbones.md)"
        )
    last = max(depths.values(), default=0)
    for group, name in own:
        group["lr"] *= factor * layer_decay ** (last - depths.get(name.removeprefix(_BACKBONE), last))


def without_decay_of_vectors(groups: list[dict], model: nn.Module) -> None:
    """Set weight decay to 0 for parameters of one dimension, and for class tokens, positions and scales."""
    for group, name in _named(groups, model):
        if group["params"][0].dim() <= 1 or name.endswith(_NO_MATRICES) or _TABLE_OF_SWIN_V2 in name:
            group["weight_decay"] = 0.0


def _depths(backbone: nn.Module) -> dict[str, int] | None:
    """By the names that parameters have in this backbone."""
    if not isinstance(backbone, BranchedBackbone):
        return parameter_depths(backbone)
    whole = backbone.depths_in_whole
    if whole is None:
        return None
    return {name: whole[its] for name, its in backbone.names_in_whole.items() if its in whole}


def _named(groups: list[dict], model: nn.Module) -> list[tuple[dict, str]]:
    names = _names(model)
    return [(group, names[group["params"][0]]) for group in groups]


def _names(model: nn.Module) -> dict[nn.Parameter, str]:
    return {parameter: name for name, parameter in model.named_parameters()}
