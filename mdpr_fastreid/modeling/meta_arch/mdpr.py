"""MDPR: mutual distillation between two perspectives on a person."""

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.heads import build_heads
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import nn

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.backbones import BranchedBackbone
from mdpr_fastreid.modeling.branches import (
    AttentionMaps,
    HardContent,
    HardContentBranch,
    SoftContent,
    SoftContentBranch,
)
from mdpr_fastreid.modeling.compilation import compile_in_training
from mdpr_fastreid.modeling.heads.features import check_settings


@META_ARCH_REGISTRY.register()
class MDPR(nn.Module):
    """Mutual Distillation Learning For Person Re-Identification (arXiv 2401.06430, figure 2).

    Args:
        backbone: shared trunk, and a copy of stages 3 and 4 for each branch that exists.
        hard: the hard content branch, or None.
        soft: the soft content branch, or None.
        heads: from the branches' maps to losses, or to the inference vector.
        pixel_mean: per channel, RGB, in 0 to 255.
        pixel_std: likewise.
        channels_last: whether training stores images, and so every map, with channels last.
        compiled: whether the trunk and the branches' stages are compiled in training.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: BranchedBackbone,
        hard: HardContentBranch | None,
        soft: SoftContentBranch | None,
        heads: nn.Module,
        pixel_mean: list[float],
        pixel_std: list[float],
        channels_last: bool = False,
        compiled: bool = False,
    ):
        super().__init__()
        self.backbone = backbone
        self.hard = hard
        self.soft = soft
        self.heads = heads
        self.channels_last = channels_last
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, -1, 1, 1), persistent=False)
        if compiled:
            stages = [getattr(backbone, branch) for branch in ("hard", "soft") if hasattr(backbone, branch)]
            compile_in_training([backbone.trunk, *(stage for pair in stages for stage in pair.children())])

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """The constructor's arguments; settings that contradict each other raise a ``SettingsError``."""
        mdpr, norm = cfg.MODEL.MDPR, cfg.MODEL.BACKBONE.NORM
        check_settings(
            branches=mdpr.BRANCHES,
            parts=mdpr.PARTS,
            maps=mdpr.ATTENTION.MAPS,
            distillation=mdpr.DISTILL.ENABLED,
            fusion=mdpr.FUSION.ENABLED,
            inference_features=mdpr.INFERENCE_FEATURES,
        )
        backbone = BranchedBackbone(build_backbone(cfg), mdpr.BRANCHES, mdpr.CHECKPOINT_STAGES)
        for key in ("SIZE_TRAIN", "SIZE_TEST"):
            # FastReID takes one number for "this shorter side" and 0 for "as it is": then the size is known only later
            size = cfg.INPUT[key] if len(cfg.INPUT[key]) == 2 else (256, 128)
            shapes = backbone.shapes(tuple(size))
            if "hard" in mdpr.BRANCHES and shapes.rows < mdpr.PARTS:
                raise SettingsError(
                    f"MODEL.MDPR.PARTS is {mdpr.PARTS}, but images of INPUT.{key} {list(size)} leave only "
                    f"{shapes.rows} rows to cut into stripes"
                )
        hard = soft = None
        if "hard" in mdpr.BRANCHES:
            hard = HardContentBranch(shapes.channels4, mdpr.EMBEDDING_DIM, mdpr.PARTS, norm)
        if "soft" in mdpr.BRANCHES:
            soft = SoftContentBranch(
                shapes.channels3,
                shapes.channels4,
                mdpr.EMBEDDING_DIM,
                mdpr.ATTENTION.MAPS,
                mdpr.ATTENTION.GUIDED,
                norm,
            )
        return {
            "backbone": backbone,
            "hard": hard,
            "soft": soft,
            "heads": build_heads(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
            "compiled": cfg.MODEL.COMPILE,
        }

    @property
    def device(self) -> torch.device:
        """Where the model is; FastReID's predictor asks."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: dict | torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """Losses in training, features in evaluation.

        Args:
            batched_inputs: FastReID's batch, a dict with ``images`` ``[B, 3, H, W]`` (RGB, 0 to 255) and, in training,
                ``targets`` ``[B]``; or the images alone. It is not changed.

        Returns:
            In training a dict of scalar losses; in evaluation features ``[B, D]``.

        Raises:
            ValueError: there are no targets in training.
        """
        targets = self._targets(batched_inputs) if self.training else None
        wanted = self.heads.wanted_maps()
        shared = self.backbone.trunk(self._normalized(batched_inputs))
        return self.heads(self._hard_content(shared, wanted), self._soft_content(shared, wanted), targets)

    def attention_maps(self, batched_inputs: dict | torch.Tensor) -> AttentionMaps:
        """The soft branch's foreground attention, ``[B, M, h, w]`` at both granularities, for looking at it.

        Args:
            batched_inputs: as for :meth:`forward`.

        Raises:
            ValueError: the model has no soft content branch.
        """
        if self.soft is None:
            raise ValueError("there are no attention maps: MODEL.MDPR.BRANCHES has no 'soft'")
        x3 = self.backbone.soft.stage3(self.backbone.trunk(self._normalized(batched_inputs)))
        return self.soft.attention(x3, self.backbone.soft.stage4(x3))

    def _hard_content(self, shared: torch.Tensor, wanted: frozenset[str]) -> HardContent | None:
        if not wanted & {"hard_global", "hard_parts"}:
            return None
        return self.hard(
            self.backbone.hard(shared), global_map="hard_global" in wanted, stripe_maps="hard_parts" in wanted
        )

    def _soft_content(self, shared: torch.Tensor, wanted: frozenset[str]) -> SoftContent | None:
        if not wanted & {"soft4", "soft3", "attention4"}:
            return None
        x3 = self.backbone.soft.run(3, shared)
        x4 = self.backbone.soft.run(4, x3) if wanted & {"soft4", "attention4"} else None
        return self.soft(x3, x4, map4="soft4" in wanted, map3="soft3" in wanted, attention="attention4" in wanted)

    def _normalized(self, batched_inputs: dict | torch.Tensor) -> torch.Tensor:
        images = batched_inputs["images"] if isinstance(batched_inputs, dict) else batched_inputs
        if self.training and self.channels_last:
            # The layout of a convolution's input is that of its output, so this decides for the whole network
            images = images.contiguous(memory_format=torch.channels_last)
        return (images - self.pixel_mean) / self.pixel_std

    @staticmethod
    def _targets(batched_inputs: dict | torch.Tensor) -> torch.Tensor:
        if not isinstance(batched_inputs, dict) or "targets" not in batched_inputs:
            raise ValueError("MDPR in training mode needs a batch with 'targets'; call eval() for features")
        # Precise BN marks a batch whose identities are not those of training with -1: any class does for it.
        return batched_inputs["targets"].clamp_min(0)
