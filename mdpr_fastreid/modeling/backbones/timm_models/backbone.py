"""A model of timm's as a backbone of FastReID's: one map of an image, or pieces for MDPR."""

from dataclasses import dataclass

import torch
from torch import nn

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.backbones.stages import BackboneStages
from mdpr_fastreid.modeling.backbones.timm_models import chains, hiera, transformers
from mdpr_fastreid.modeling.backbones.timm_models.layouts import AtSizeOfInput, ChannelsLast, Layout, MapView
from mdpr_fastreid.modeling.backbones.timm_models.positions import resized_positions

_NORMS = ("norm", "fc_norm", "head.norm")
"""Where timm's families have the norm behind their last block."""
_TOLERANCE = 1e-3
"""Of a cut against the whole, relative to the largest value: in float32, sums in another order differ by less."""


@dataclass(frozen=True)
class Reading:
    """How a model's maps are read."""

    name: str
    """Of the model, for errors."""
    size: tuple[int, int]
    """Height and width of the images it is built for."""
    size_key: str
    """Of the config, that says this size."""
    grids: tuple[tuple[int, int], ...]
    """Rows and columns of patches of each size of images; () if it has no patches in rows."""
    class_token: str
    """``MODEL.BACKBONE.TIMM.CLASS_TOKEN``."""
    cut: tuple[int, ...]
    """``MODEL.BACKBONE.TIMM.CUT``."""
    normalised: bool
    """Whether maps go through a layer norm: the one behind the last block, and for stage 3 one of its own."""


class TimmBackbone(nn.Module):
    """A backbone that is a model of timm's, with timm's names; :func:`as_backbone` makes one.

    Shapes:
        ``[B, 3, H, W]`` -> ``[B, C, h, w]``; ``[B, C, 1, 1]`` of a class token alone.
    """

    reading: Reading
    last_norm: str
    """Where the norm behind the last block is; "" if there is none."""
    norm_is_left: bool
    """Whether ``forward_features`` leaves this norm to the classifier, which pools before it."""
    layout: Layout
    """Of what ``forward_features`` gives."""
    channels: int
    """Of the map."""
    has_negative_values: bool
    """Whether the map has: pooling by powers, as GeM's, would take them for zero."""

    behind_stages: tuple[str, ...]
    """Children behind the last stage that ``forward_features`` runs, but for the norm: a batch norm, a convolution."""

    gives_stages: bool
    """Whether it gives the maps behind all four stages, see :meth:`stage_outputs`."""

    def forward(self, images: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        if not self.gives_stages:
            return self._map(self.forward_features(images))
        last, maps = self.forward_intermediates(images, indices=4)
        return [*maps[:-1], self._map(last)]

    def _map(self, features: torch.Tensor) -> torch.Tensor:
        if self.norm_is_left:
            features = self.get_submodule(self.last_norm)(features)
        return self.layout.to_map(features)

    def stage_outputs(self) -> "TimmBackbone":
        """Itself, giving ``[S1, S2, S3, S4]`` from now on, see :func:`mdpr_fastreid.modeling.backbones.stage_outputs`.

        ``S1`` to ``S3`` are what the stages give, without a norm.

        Raises:
            SettingsError: it has no four stages of maps of 1/4 to 1/32.
        """
        if [entry["reduction"] for entry in self.feature_info[-4:-1]] != [4, 8, 16]:
            raise SettingsError(
                f"MODEL.BACKBONE.TIMM.MODEL {self.reading.name} has no maps of 1/4, 1/8, 1/16 and 1/32 of the image, "
                "which the method reads: choose a convolutional network or a pyramid, such as convnext_tiny"
            )
        self.gives_stages = True
        return self

    def resized_weight(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """A weight of another shape, made to fit if it is a position embedding; else the weight itself."""
        if name != "pos_embed" or value.dim() != 3 or self.pos_embed.dim() != 3:
            return value
        grid = self.tokens_spatial_shape if hiera.is_hiera(self) else self.patch_embed.grid_size
        return resized_positions(value, self.pos_embed.size(1) - grid[0] * grid[1], grid)

    def cut(self) -> BackboneStages:
        """The pieces that MDPR copies, see :func:`mdpr_fastreid.modeling.backbones.split_stages`.

        Raises:
            SettingsError: its stages do not run one after the other, or ``TIMM.CUT`` is not within its blocks.
        """
        if transformers.is_plain(self):
            return self._cut_tokens()
        return self._cut_hiera() if hiera.is_hiera(self) else self._cut_chain()

    def _cut_tokens(self) -> BackboneStages:
        reading = self.reading
        token = reading.class_token or ("drop" if getattr(self, "cls_token", None) is None else "add")
        if token == "only":
            raise SettingsError(
                "MODEL.BACKBONE.TIMM.CLASS_TOKEN only leaves MDPR no map to cut into stripes: set it to add or drop"
            )
        tokens = transformers.tokens_of(self, reading.grids, token, reading.name)
        norm = self.get_submodule(self.last_norm) if self.last_norm else None
        views = (MapView(norm, tokens.to_map) for _ in range(2))
        return BackboneStages(*transformers.pieces(self, tokens, reading.cut), *views)

    def _cut_hiera(self) -> BackboneStages:
        trunk, stage3, stage4 = hiera.pieces(self)
        layout, seen3 = ChannelsLast(), hiera.Rerolled(self, 2)
        stage4 = AtSizeOfInput(nn.Sequential(stage4, hiera.Rerolled(self, 3)), layout, seen3)
        view3, view4 = self._views(layout)
        return BackboneStages(trunk, stage3, stage4, nn.Sequential(seen3, view3), view4)

    def _cut_chain(self) -> BackboneStages:
        trunk, stage3, stage4 = chains.pieces(self, self.reading.name)
        layout = chains.layout_of(self)
        self._check_chain(trunk, stage3, stage4, layout)
        if self.behind_stages:
            stage4 = nn.Sequential(*stage4, *map(self.get_submodule, self.behind_stages))
        if self.feature_info[-1]["reduction"] != self.feature_info[-2]["reduction"]:
            stage4 = AtSizeOfInput(stage4, layout)
        return BackboneStages(trunk, stage3, stage4, *self._views(layout))

    @torch.no_grad()
    def _check_chain(self, trunk: nn.Module, stage3: nn.Module, stage4: nn.Module, layout: Layout) -> None:
        """Refuse a family whose own forward pass does more than run its children in order."""
        image = _image(self.reading.size).to(next(self.parameters()))
        if image.is_meta:  # no values to compare
            return
        was_training = self.training
        self.eval()
        count = len(self.feature_info)
        try:
            expected = self.forward_intermediates(image, indices=[count - 2, count - 1], intermediates_only=True)
            x3 = stage3(trunk(image))
            found = [layout.to_map(x3), layout.to_map(stage4(x3))]
            same = all(
                one.shape == other.shape and (one - other).abs().max() <= _TOLERANCE * other.abs().max()
                for one, other in zip(found, expected, strict=True)
            )
        except (AttributeError, RuntimeError, TypeError):
            same = False
        finally:
            self.train(was_training)
        if not same:
            raise chains.not_a_chain(self, self.reading.name)

    def _views(self, layout: Layout) -> tuple[MapView, MapView]:
        if not self.last_norm:
            return MapView(None, layout.to_map), MapView(None, layout.to_map)
        last = self.get_submodule(self.last_norm)
        own = getattr(self, "norm_stage3", None)
        if own is None:
            own = type(last)(self.feature_info[-2]["num_chs"], eps=last.eps)
        own.requires_grad_(True)  # it was frozen where no map went through it
        return MapView(own, layout.to_map), MapView(last, layout.to_map)


def as_backbone(model: nn.Module, reading: Reading) -> TimmBackbone:
    """Make a model of timm's a backbone, in place: its class gets another ``forward``, and :meth:`TimmBackbone.cut`.

    Parameters that its features do not depend on, such as a classifier's, are frozen.

    Args:
        model: without a classifier.
        reading: how its maps are read.

    Raises:
        SettingsError: the model does not take images of this size, or gives no map of one.
    """
    model.__class__ = type(type(model).__name__, (TimmBackbone, type(model)), {"__module__": __name__})
    model.reading = reading
    model.last_norm = _last_norm(model)
    if model.last_norm and not reading.normalised:
        model.set_submodule(model.last_norm, nn.Identity())
        model.last_norm = ""
    model.norm_is_left = model.gives_stages = False
    model.layout = _layout(model, reading)
    used = _Used(model)
    model.behind_stages = tuple(name for name in used.behind_stages if name != model.last_norm)
    model.norm_is_left = bool(model.last_norm) and not used.norm
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(
            name in used.parameters or (model.norm_is_left and name.startswith(f"{model.last_norm}."))
        )
    model.channels = used.map.size(1)
    model.has_negative_values = bool((used.map < 0).any()) or model.norm_is_left
    return model


class _Used:
    """What the features of an image depend on.

    Raises:
        SettingsError: as :func:`as_backbone`.
    """

    def __init__(self, model: TimmBackbone):
        self.norm = False
        self.behind_stages: list[str] = []
        reading, was_training = model.reading, model.training
        hooks = []
        for name in chains.behind_stages(model):
            if not isinstance(child := model.get_submodule(name), nn.Identity):
                hooks.append(child.register_forward_hook(lambda *_, name=name: self.behind_stages.append(name)))
        if model.last_norm:
            hooks.append(model.get_submodule(model.last_norm).register_forward_hook(self._saw_norm))
        try:
            with torch.enable_grad():
                features = features_of(model.eval(), reading.size, reading.size_key)
        finally:
            for hook in hooks:
                hook.remove()
            model.train(was_training)
        self.map = _map_or_none(model.layout, features)
        if self.map is None:
            raise SettingsError(
                f"MODEL.BACKBONE.TIMM.MODEL {reading.name} gives no map of an image, which FastReID's heads and MDPR "
                "read: docs/reference/backbones.md lists families that do"
            )
        trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        names, parameters = zip(*trained, strict=True)
        with torch.enable_grad():
            gradients = torch.autograd.grad(features.square().sum(), parameters, allow_unused=True)
        self.parameters = {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}

    def _saw_norm(self, *_: object) -> None:
        self.norm = True


def features_of(model: TimmBackbone, size: tuple[int, int], key: str) -> torch.Tensor:
    """What ``forward_features`` gives of one image.

    Args:
        model: in evaluation mode.
        size: height and width of the image.
        key: of the config, that says the size.

    Raises:
        SettingsError: the model does not take images of this size.
    """
    try:
        return model.forward_features(_image(size))
    except (AssertionError, RuntimeError, ValueError, IndexError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SettingsError(
            f"MODEL.BACKBONE.TIMM.MODEL {model.reading.name} does not take images of {key} {size[0]} x {size[1]}: "
            f"{lines[0]}"
        ) from error


def _image(size: tuple[int, int]) -> torch.Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def _map_or_none(layout: Layout, features: object) -> torch.Tensor | None:
    """``[B, C, h, w]``, if the features are such a map."""
    try:
        found = layout.to_map(features)
    except (AttributeError, RuntimeError, StopIteration, TypeError):
        return None
    return found.detach() if found.dim() == 4 else None


def _last_norm(model: nn.Module) -> str:
    channels = model.feature_info[-1]["num_chs"]
    for path in _NORMS:
        try:
            norm = model.get_submodule(path)
        except AttributeError:
            continue
        if tuple(getattr(norm, "normalized_shape", ())) == (channels,):
            return path
    return ""


def _layout(model: nn.Module, reading: Reading) -> Layout:
    if transformers.is_plain(model):
        return transformers.tokens_of(model, reading.grids, reading.class_token, reading.name)
    if hiera.is_hiera(model):
        return hiera.MaskUnits(hiera.Rerolled(model, 3))
    return chains.layout_of(model)
