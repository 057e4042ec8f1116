"""The part of MDPR that starts from pretrained weights: a shared trunk and a copy of stages 3 and 4 a branch."""

import copy
from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import nn

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.backbones.depths import parameter_depths
from mdpr_fastreid.modeling.backbones.recomputing import recomputed
from mdpr_fastreid.modeling.backbones.stages import split_stages
from mdpr_fastreid.modeling.features import BRANCHES, READINGS, last_stages

_READS_STAGE_4_ONLY = "hard"


class Stages(nn.Module):
    """A branch's own copy of stages 3 and 4.

    Args:
        stage3: gives what stage 4 takes.
        stage4: gives what ``view4`` takes.
        view4: makes the map of stage 4.
        view3: makes the map of stage 3; None in a branch that does not read it.
        checkpointed: which of 3 and 4 are computed again in the backward pass.

    Shapes:
        What the trunk gives, ``[B, C2, 2h, 2w]`` of a convolutional network -> ``[B, C4, h, w]``.
    """

    def __init__(
        self,
        stage3: nn.Module,
        stage4: nn.Module,
        view4: nn.Module,
        view3: nn.Module | None = None,
        checkpointed: tuple[int, ...] = (),
    ):
        super().__init__()
        self.stage3 = stage3
        self.stage4 = stage4
        self.view3 = view3
        self.view4 = view4
        self.checkpointed = checkpointed

    def forward(self, shared: torch.Tensor) -> torch.Tensor:
        return self.view4(self._run(4, self._run(3, shared)))

    def maps(self, shared: torch.Tensor, last: int = 4) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``[B, C3, h, w]`` and, unless ``last`` is 3, ``[B, C4, h, w]``."""
        features = self._run(3, shared)
        return self.view3(features), self.view4(self._run(4, features)) if last == 4 else None

    def _run(self, number: int, features: torch.Tensor) -> torch.Tensor:
        stage = self.stage3 if number == 3 else self.stage4
        if number in self.checkpointed and self.training and torch.is_grad_enabled():
            return recomputed(stage, features)
        return stage(features)


class StageMaps(NamedTuple):
    """What the branches' own stages give; what was not asked for is None."""

    hard4: torch.Tensor | None
    """``[B, C4, h, w]``, stage 4 of the hard branch."""
    soft3: torch.Tensor | None
    """``[B, C3, h, w]``, stage 3 of the soft branch."""
    soft4: torch.Tensor | None
    """``[B, C4, h, w]``, stage 4 of the soft branch."""


class StageShapes(NamedTuple):
    """What stages 3 and 4 give for an input size."""

    channels3: int
    """0 where no branch reads stage 3."""
    channels4: int
    rows: int
    columns: int


class BranchedBackbone(nn.Module):
    """A trunk (stem, stages 1 and 2) that branches share, and stages 3 and 4 once for each of them.

    It is one module so that what FastReID does to ``backbone`` (pretrained weights, ``MODEL.FREEZE_LAYERS``)
    reaches all of it. The branches' copies start from the same weights.

    Args:
        backbone: as :func:`~mdpr_fastreid.modeling.backbones.stages.split_stages` takes it.
        branches: names of the branches; each becomes a child of type :class:`Stages`.
        checkpointed: stages, of 3 and 4, whose activations are computed again in the backward pass.

    Raises:
        SettingsError: the backbone has no stages, its last one reduces the map, or CHECKPOINT_STAGES names another.
    """

    def __init__(self, backbone: nn.Module, branches: tuple[str, ...], checkpointed: tuple[int, ...] = ()):
        super().__init__()
        if not set(checkpointed) <= {3, 4}:
            raise SettingsError(f"MODEL.MDPR.CHECKPOINT_STAGES {tuple(checkpointed)}: give (), (3,), (4,) or (3, 4)")
        # The pieces are the backbone's own modules, so that an entry is known by its identity
        whole_names = {id(entry): name for name, entry in backbone.state_dict(keep_vars=True).items()}
        self._branches = tuple(branches)
        self.kind_of_whole = type(backbone).__name__
        """Class of the backbone that was cut, for messages."""
        self.trunk, *rest = split_stages(backbone)
        pieces = {"trunk": self.trunk}
        for branch in branches:
            own = dict(zip(("stage3", "stage4", "view3", "view4"), rest, strict=True))
            if branch == _READS_STAGE_4_ONLY:
                del own["view3"]  # what gets no gradient must not be there
            copies = {name: copy.deepcopy(piece) for name, piece in own.items()}
            self.add_module(branch, Stages(**copies, checkpointed=tuple(checkpointed)))
            pieces |= {f"{branch}.{name}": piece for name, piece in own.items()}
        self.names_in_whole: dict[str, str] = {
            f"{piece}.{name}": whole_names[id(entry)]
            for piece, module in pieces.items()
            for name, entry in module.state_dict(keep_vars=True).items()
            if id(entry) in whole_names
        }
        """What each entry of the state dict is called in the backbone that was cut; weights of that one fit so.

        What a view has of its own, that backbone does not have."""
        self.depths_in_whole = parameter_depths(backbone)
        """How deep each parameter lies in the backbone that was cut, by its name there; None if that is not known."""

    def forward(self, images: torch.Tensor, wanted: Collection[str] | None = None) -> StageMaps:
        """Run the trunk, and the stages that the wanted readings need.

        Args:
            images: ``[B, 3, H, W]``, normalised.
            wanted: names of ``READINGS``; by default all of the branches that exist.
        """
        if wanted is None:
            wanted = [name for name, reading in READINGS.items() if hasattr(self, reading.branch)]
        last = last_stages(wanted)
        shared = self.trunk(images)
        hard4 = self.hard(shared) if "hard" in last else None
        soft3, soft4 = self.soft.maps(shared, last["soft"]) if "soft" in last else (None, None)
        return StageMaps(hard4, soft3, soft4)

    def keep(self, readings: Collection[str]) -> None:
        """Take away, in place, the stages that none of these readings needs."""
        last = last_stages(readings)
        for branch in [name for name in BRANCHES if hasattr(self, name)]:
            if branch not in last:
                delattr(self, branch)
            elif last[branch] == 3:
                getattr(self, branch).stage4 = getattr(self, branch).view4 = None

    def shapes(self, image_size: tuple[int, int]) -> StageShapes:
        """Channels and map size for images of ``(height, width)``, found without computing anything.

        Raises:
            SettingsError: the maps of stages 3 and 4 differ in size.
        """
        stages = max((getattr(self, name) for name in self._branches), key=lambda one: one.view3 is not None)
        with torch.no_grad():
            trunk, stages = (copy.deepcopy(piece).to("meta").eval() for piece in (self.trunk, stages))
            shared = trunk(torch.empty(1, 3, *image_size, device="meta"))
            x3, x4 = (None, stages(shared)) if stages.view3 is None else stages.maps(shared)
        if x3 is not None and x3.shape[2:] != x4.shape[2:]:
            raise SettingsError(
                "MDPR joins the maps of stages 3 and 4, so stage 4 must keep the size of stage 3: set "
                f"MODEL.BACKBONE.LAST_STRIDE to 1 (maps are {tuple(x3.shape[2:])} and {tuple(x4.shape[2:])} now)."
            )
        return StageShapes(0 if x3 is None else x3.size(1), x4.size(1), x4.size(2), x4.size(3))
