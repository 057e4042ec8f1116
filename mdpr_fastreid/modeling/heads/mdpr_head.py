"""The head of MDPR: identity heads, fusion, mutual distillation, and the losses on them."""

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.heads import REID_HEADS_REGISTRY, EmbeddingHead
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import nn

from mdpr_fastreid.config.names import registered
from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.branches import Perspectives, SoftContent
from mdpr_fastreid.modeling.event_storage import log_accuracy
from mdpr_fastreid.modeling.features import FUSION, READINGS, head_widths, heads_on, readings_for
from mdpr_fastreid.modeling.heads.fusion import FUSION_REGISTRY
from mdpr_fastreid.modeling.layers import CircleSoftmax, SyncBatchNorm
from mdpr_fastreid.modeling.losses import (
    COSINE,
    BranchLosses,
    IdentityLosses,
    build_branch_losses,
    build_identity_losses,
    build_loss,
)

_INFERENCE_PARTS = ("embedding_heads", "fusion")


@REID_HEADS_REGISTRY.register()
class MDPRHead(nn.Module):
    """Turns what the branches see into losses, or into the inference vector (arXiv 2401.06430).

    In evaluation it returns ``[B, D]``, the neck outputs of ``inference_features`` side by side. In training it
    returns what FastReID's heads return, ``cls_outputs``, ``pred_class_logits`` and ``features``, of the fused feature
    (of the first one where none is fused); ``heads`` has the same of every head by its name. :meth:`losses` takes that.

    Args:
        heads: FastReID's ``EmbeddingHead`` by feature name: ``hard_global``, ``hard_part0`` ..., ``soft4``,
            ``soft3``, ``attention4``, ``attention3``, ``fusion``, as far as they exist.
        identity_losses: losses on every head, by the name they are logged with; see ``LOSS_REGISTRY``.
        inference_features: of ``hard_global``, ``hard_parts``, ``soft4``, ``soft3``, ``fusion``.
        fusion: the fusion block, or None.
        predictors: those of mutual distillation, ``hard_to_soft`` and ``soft_to_hard``, or None.
        distillation_loss: compares predictions with features; needed with predictors.
        diversity_loss: on what is pooled through the attention maps of a granularity, or None.
        area_loss: on the attention maps of a granularity, or None.
        branch_losses: by which ``hard_global`` and ``soft4`` teach each other without predictors, or None.
    """

    @configurable
    def __init__(
        self,
        *,
        heads: dict[str, nn.Module],
        identity_losses: IdentityLosses,
        inference_features: tuple[str, ...],
        fusion: nn.Module | None = None,
        predictors: dict[str, nn.Module] | None = None,
        distillation_loss: nn.Module | None = None,
        diversity_loss: nn.Module | None = None,
        area_loss: nn.Module | None = None,
        branch_losses: BranchLosses | None = None,
    ):
        super().__init__()
        self.embedding_heads = nn.ModuleDict(heads)
        self.fusion = fusion
        self.predictors = nn.ModuleDict(predictors) if predictors else None
        self.identity_losses = identity_losses
        self.distillation_loss = distillation_loss
        self.diversity_loss = diversity_loss
        self.area_loss = area_loss
        self.branch_losses = branch_losses
        self.inference_features = tuple(inference_features)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """The constructor's arguments, from ``MODEL.MDPR``, ``MODEL.HEADS`` and ``MODEL.LOSSES``.

        Raises:
            SettingsError: ``MODEL.META_ARCHITECTURE`` is one of FastReID's own, which give no perspectives, or
                ``MODEL.LOSSES.NAME`` or ``MODEL.MDPR.DISTILL.KIND`` has a loss that no identity head feeds.
        """
        if META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).__module__.startswith("fastreid."):
            raise SettingsError(
                f"MODEL.HEADS.NAME {cfg.MODEL.HEADS.NAME} reads MDPR's branches, which MODEL.META_ARCHITECTURE "
                f"{cfg.MODEL.META_ARCHITECTURE} does not have: set that to MDPR, or the head to EmbeddingHead"
            )
        mdpr = cfg.MODEL.MDPR
        dim, maps = mdpr.EMBEDDING_DIM, mdpr.ATTENTION.MAPS
        widths = head_widths(mdpr.BRANCHES, mdpr.PARTS, maps, mdpr.FUSION.ENABLED)
        predicts = mdpr.DISTILL.ENABLED and COSINE in mdpr.DISTILL.KIND.split("+")

        def optional(name: str, wanted: bool) -> nn.Module | None:
            return build_loss(name, cfg) if wanted else None

        return {
            "heads": {name: _embedding_head(cfg, name, width * dim) for name, width in widths.items()},
            "identity_losses": build_identity_losses(cfg),
            "inference_features": mdpr.INFERENCE_FEATURES,
            "fusion": _fusion(cfg) if mdpr.FUSION.ENABLED else None,
            "predictors": _predictors(cfg) if predicts else None,
            "distillation_loss": optional("MutualDistillationLoss", predicts),
            # One map has no pair to tell apart, and a weight of zero makes the loss a constant.
            "diversity_loss": optional("AttentionDiversityLoss", mdpr.ATTENTION.DIVERSITY_SCALE != 0 and maps > 1),
            "area_loss": optional("AttentionAreaLoss", mdpr.ATTENTION.AREA_SCALE != 0),
            "branch_losses": build_branch_losses(cfg) if mdpr.DISTILL.ENABLED else None,
        }

    def wanted_readings(self) -> frozenset[str]:
        """Names of the ``READINGS`` that the next forward pass uses: all that have a head in training."""
        if not self.training:
            return readings_for(self.inference_features)
        return frozenset(name for name in READINGS if heads_on(name, 1)[0] in self.embedding_heads)

    def forward(
        self, perspectives: Perspectives, targets: torch.Tensor | None = None
    ) -> torch.Tensor | dict[str, torch.Tensor | dict | SoftContent | None]:
        """What losses are computed from in training, the inference vector in evaluation.

        Args:
            perspectives: the branches' maps, as far as they are wanted.
            targets: ``[B]`` identity labels; needed in training.
        """
        inputs = self._head_inputs(perspectives)
        if not self.training:
            return torch.cat([self.embedding_heads[name](inputs[name]) for name in self.inference_heads()], dim=1)
        outputs = {name: head(inputs[name], targets) for name, head in self.embedding_heads.items()}
        main = outputs.get(FUSION) or next(iter(outputs.values()))
        # Of the soft branch, losses read the attention alone; its maps would be kept, or sent to the other processes
        soft = perspectives.soft and perspectives.soft._replace(map4=None, map3=None)
        return {**main, "heads": outputs, "soft": soft}

    def losses(self, outputs: dict, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scalar losses, each with its weight.

        ``loss_cls_<head>`` for every head, ``loss_triplet_<head>`` for all but the attention ones,
        ``loss_diversity<g>`` and ``loss_area<g>`` for the granularities 4 and 3, ``loss_distillation``,
        ``loss_distillation_<kind>`` for every other kind of distillation than the cosine.

        Args:
            outputs: what :meth:`forward` gave in training.
            targets: ``[B]`` identity labels.
        """
        heads, soft = outputs["heads"], outputs["soft"]
        log_accuracy(outputs["pred_class_logits"], targets)
        losses = self._identity_losses(heads, targets)
        if soft is not None:
            losses |= self._attention_losses(soft)
        if self.predictors is not None:
            z1, z2 = heads["hard_global"]["features"], heads["soft4"]["features"]
            predicted2, predicted1 = self.predictors["hard_to_soft"](z1), self.predictors["soft_to_hard"](z2)
            losses["loss_distillation"] = self.distillation_loss(predicted2, z2, predicted1, z1)
        if self.branch_losses is not None:
            taught = self.branch_losses(heads["hard_global"], heads["soft4"], targets)
            losses |= {f"loss_distillation_{name}": loss for name, loss in taught.items()}
        return losses

    def inference_heads(self) -> list[str]:
        """Names of the heads whose outputs make up the inference vector, in order."""
        parts = sum(name in self.embedding_heads for name in heads_on("hard_parts", len(self.embedding_heads)))
        return [head for feature in self.inference_features for head in heads_on(feature, parts)]

    def feature_lengths(self) -> dict[str, int]:
        """Length of each part of the inference vector, by the head it comes from, in order."""
        return {name: self.embedding_heads[name].weight.size(1) for name in self.inference_heads()}

    def simplify_for_inference(self) -> None:
        """Take away, in place, what does not reach the inference vector; see :mod:`mdpr_fastreid.inference.folding`."""
        for name in self.embedding_heads.keys() - set(self.inference_heads()):
            del self.embedding_heads[name]
        if FUSION not in self.inference_features:
            self.fusion = None
        for name in self._modules.keys() - set(_INFERENCE_PARTS):
            setattr(self, name, None)

    def _head_inputs(self, perspectives: Perspectives) -> dict[str, torch.Tensor]:
        hard, soft = perspectives
        inputs = {}
        if hard is not None:
            inputs["hard_global"] = hard.global_map
            stripes = hard.stripe_maps or ()
            inputs |= zip(heads_on("hard_parts", len(stripes)), stripes, strict=True)
        if soft is not None:
            inputs |= {"soft4": soft.map4, "soft3": soft.map3}
            if soft.pooled is not None:
                inputs["attention4"] = _as_map(soft.pooled.granularity4)
                inputs["attention3"] = _as_map(soft.pooled.granularity3)
        if self.fusion is not None and (self.training or FUSION in self.inference_features):
            inputs[FUSION] = self.fusion(hard.global_map, hard.stripe_maps, soft.map4, soft.map3)
        return inputs

    def _identity_losses(self, heads: dict[str, dict], targets: torch.Tensor) -> dict[str, torch.Tensor]:
        # What is pooled through attention is classified only
        only_logits = heads_on("attention", 1)
        return {
            f"loss_{name}_{head}": value
            for head, output in heads.items()
            for name, value in self.identity_losses(
                output, targets, takes=("logits",) if head in only_logits else ("logits", "embedding")
            ).items()
        }

    def _attention_losses(self, soft: SoftContent) -> dict[str, torch.Tensor]:
        losses = {}
        if self.diversity_loss is not None:
            losses["loss_diversity4"] = self.diversity_loss(soft.pooled.granularity4)
            losses["loss_diversity3"] = self.diversity_loss(soft.pooled.granularity3)
        if self.area_loss is not None:
            losses["loss_area4"] = self.area_loss(soft.attention.granularity4)
            losses["loss_area3"] = self.area_loss(soft.attention.granularity3)
        return losses


def _as_map(pooled: torch.Tensor) -> torch.Tensor:
    """``[B, M, E]`` -> ``[B, M * E, 1, 1]``, what a head without pooling takes (ReLU as in the paper's figure)."""
    return pooled.flatten(1).relu()[:, :, None, None]


def _embedding_head(cfg: CfgNode, feature: str, feat_dim: int) -> EmbeddingHead:
    settings = EmbeddingHead.from_config(cfg) | {"feat_dim": feat_dim}
    if feature in heads_on("attention", 1):
        settings["pool_type"] = "Identity"
    head = EmbeddingHead(**settings)
    if settings["cls_type"] == "CircleSoftmax":
        head.cls_layer = CircleSoftmax(settings["num_classes"], settings["scale"], settings["margin"])
    return head


def _fusion(cfg: CfgNode) -> nn.Module:
    mdpr = cfg.MODEL.MDPR
    return registered(FUSION_REGISTRY, mdpr.FUSION.KIND)(mdpr.EMBEDDING_DIM, cfg.MODEL.HEADS.NORM)


def _predictors(cfg: CfgNode) -> dict[str, nn.Module]:
    heads = cfg.MODEL.HEADS
    dim = cfg.MODEL.MDPR.EMBEDDING_DIM
    if heads.EMBEDDING_DIM > 0 and heads.NECK_FEAT == "after":
        dim = heads.EMBEDDING_DIM
    norm = SyncBatchNorm if heads.NORM == "syncBN" else nn.BatchNorm1d

    def predictor() -> nn.Sequential:
        return nn.Sequential(nn.Linear(dim, dim, bias=False), norm(dim), nn.ReLU(inplace=True), nn.Linear(dim, dim))

    return {"hard_to_soft": predictor(), "soft_to_hard": predictor()}
