"""MDPR: mutual distillation between two perspectives on a person."""

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.heads import REID_HEADS_REGISTRY, build_heads
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline
from torch import nn

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.backbones import BranchedBackbone, StageMaps, build_backbone
from mdpr_fastreid.modeling.backbones.image_sizes import image_sizes
from mdpr_fastreid.modeling.branches import AttentionMaps, HardContentBranch, Perspectives, SoftContentBranch
from mdpr_fastreid.modeling.compilation import compile_in_training
from mdpr_fastreid.modeling.features import BRANCHES, READINGS, check_settings, readings_for
from mdpr_fastreid.modeling.images import images_of


@META_ARCH_REGISTRY.register()
class MDPR(Baseline):
    """Mutual Distillation Learning For Person Re-Identification (arXiv 2401.06430, figure 2).

    Args:
        backbone: shared trunk, and a copy of stages 3 and 4 for each branch that exists.
        hard: the hard content branch, or None.
        soft: the soft content branch, or None.
        heads: from the branches' maps to losses, or to the inference vector.
        pixel_mean: per channel, RGB, in 0 to 255.
        pixel_std: likewise.
        compiled: whether the trunk and the branches' stages are compiled in training.
    """

    folds_from = "backbone.trunk"
    """The module that gets the normalised images, see :mod:`mdpr_fastreid.inference.folding`."""

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
        compiled: bool = False,
    ):
        super().__init__(backbone=backbone, heads=None, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.hard = hard
        self.soft = soft
        self.heads = heads  # last: the state of an optimizer knows parameters by their order
        if compiled:
            stages = [getattr(backbone, branch) for branch in BRANCHES if hasattr(backbone, branch)]
            compile_in_training([backbone.trunk, *(one for pair in stages for one in (pair.stage3, pair.stage4))])

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """The constructor's arguments.

        Raises:
            SettingsError: settings contradict each other, the head is another architecture's, or the plugin's keys
                are missing.
        """
        _check_fit(cfg)
        mdpr, norm = cfg.MODEL.MDPR, cfg.MODEL.BACKBONE.NORM
        check_settings(mdpr)
        backbone = BranchedBackbone(build_backbone(cfg), mdpr.BRANCHES, mdpr.CHECKPOINT_STAGES)
        for key, _, size, _ in image_sizes(cfg):
            shapes = backbone.shapes(size)
            if "hard" in mdpr.BRANCHES and shapes.rows < mdpr.PARTS:
                raise SettingsError(
                    f"MODEL.MDPR.PARTS is {mdpr.PARTS}, but images of {key} {list(size)} leave only "
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
            "compiled": cfg.MODEL.COMPILE,
        }

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
        images = self.preprocess_image(batched_inputs)
        perspectives = self.perspectives(self.backbone(images, self.heads.wanted_readings()))
        outputs = self.heads(perspectives, targets)
        return self.losses(outputs, targets) if self.training else outputs

    def perspectives(self, stages: StageMaps) -> Perspectives:
        """What the two branches see in the maps of their own stages."""
        wanted = self.heads.wanted_readings()
        hard = soft = None
        if stages.hard4 is not None:
            hard = self.hard(stages.hard4, global_map="hard_global" in wanted, stripe_maps="hard_parts" in wanted)
        if stages.soft3 is not None:
            soft = self.soft(
                *(stages.soft3, stages.soft4),
                map4="soft4" in wanted,
                map3="soft3" in wanted,
                attention="attention" in wanted,
            )
        return Perspectives(hard, soft)

    def losses(self, outputs: dict, gt_labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scalar losses of what the heads gave in training; targets are ``[B]``."""
        return self.heads.losses(outputs, gt_labels)

    def attention_maps(self, batched_inputs: dict | torch.Tensor) -> AttentionMaps:
        """The soft branch's foreground attention, ``[B, M, h, w]`` at both granularities, for looking at it.

        Args:
            batched_inputs: as for :meth:`forward`.

        Raises:
            ValueError: the model has no soft content branch.
        """
        if self.soft is None:
            raise ValueError("there are no attention maps: MODEL.MDPR.BRANCHES has no 'soft'")
        stages = self.backbone(self.preprocess_image(batched_inputs), ("attention",))
        return self.soft.attention(stages.soft3, stages.soft4)

    def preprocess_image(self, batched_inputs: dict | torch.Tensor) -> torch.Tensor:
        """The batch's images ``[B, 3, H, W]``, normalised, as a new tensor."""
        return (images_of(batched_inputs) - self.pixel_mean) / self.pixel_std

    def feature_lengths(self) -> dict[str, int]:
        """Length of each part of the inference vector, by the head it comes from, in order."""
        return self.heads.feature_lengths()

    def simplify_for_inference(self) -> None:
        """Take away, in place, what does not reach the inference vector; see :mod:`mdpr_fastreid.inference.folding`."""
        kept = readings_for(self.heads.inference_features)
        self.backbone.keep(kept)
        for branch in BRANCHES:
            modules = {module for name in kept if READINGS[name].branch == branch for module in READINGS[name].modules}
            if not modules:
                setattr(self, branch, None)
                continue
            content = getattr(self, branch)
            for module in content._modules.keys() - modules:
                setattr(content, module, None)

    @staticmethod
    def _targets(batched_inputs: dict | torch.Tensor) -> torch.Tensor:
        if not isinstance(batched_inputs, dict) or "targets" not in batched_inputs:
            raise ValueError("MDPR in training mode needs a batch with 'targets'; call eval() for features")
        # Precise BN marks a batch whose identities are not those of training with -1: any class does for it.
        return batched_inputs["targets"].clamp_min(0)


def _check_fit(cfg: CfgNode) -> None:
    """Refuse a config that was made without the plugin's keys, or that has another architecture's head."""
    if "MDPR" not in cfg.MODEL:
        raise SettingsError(
            "this config has no MODEL.MDPR: it was made before mdpr_fastreid was imported. "
            "Call mdpr_fastreid.add_mdpr_config(cfg) before its file is merged"
        )
    head = REID_HEADS_REGISTRY.get(cfg.MODEL.HEADS.NAME)
    if not hasattr(head, "wanted_readings"):
        raise SettingsError(
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} needs MODEL.HEADS.NAME MDPRHead, which reads its "
            f"branches; {cfg.MODEL.HEADS.NAME} does not"
        )
