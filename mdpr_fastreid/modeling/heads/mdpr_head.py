"""The head of MDPR: identity heads, fusion, mutual distillation, and the losses on them."""

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.heads import REID_HEADS_REGISTRY, EmbeddingHead
from fastreid.modeling.losses import log_accuracy
from fastreid.utils.events import get_event_storage
from torch import nn

from mdpr_fastreid.modeling.branches import HardContent, SoftContent
from mdpr_fastreid.modeling.heads.features import maps_for
from mdpr_fastreid.modeling.heads.fusion import FeatureFusion
from mdpr_fastreid.modeling.layers import CircleSoftmax
from mdpr_fastreid.modeling.losses import build_loss


@REID_HEADS_REGISTRY.register()
class MDPRHead(nn.Module):
    """Turns the branches' maps into losses, or into the inference vector (arXiv 2401.06430).

    In training it returns a dict of scalar losses, each with its weight: ``loss_cls_<feature>`` for every
    head, ``loss_triplet_<feature>`` for all but the attention ones, ``loss_diversity<g>`` and ``loss_area<g>`` for
    the granularities 4 and 3, ``loss_distillation``. In evaluation it returns ``[B, D]``, the neck outputs of
    ``inference_features`` side by side.

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
    """

    @configurable
    def __init__(
        self,
        *,
        heads: dict[str, nn.Module],
        identity_losses: dict[str, nn.Module],
        inference_features: tuple[str, ...],
        fusion: nn.Module | None = None,
        predictors: dict[str, nn.Module] | None = None,
        distillation_loss: nn.Module | None = None,
        diversity_loss: nn.Module | None = None,
        area_loss: nn.Module | None = None,
    ):
        super().__init__()
        self.embedding_heads = nn.ModuleDict(heads)
        self.fusion = fusion
        self.predictors = nn.ModuleDict(predictors) if predictors else None
        self.identity_losses = nn.ModuleDict(identity_losses)
        self.distillation_loss = distillation_loss
        self.diversity_loss = diversity_loss
        self.area_loss = area_loss
        self.inference_features = tuple(inference_features)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """The constructor's arguments, from ``MODEL.MDPR``, ``MODEL.HEADS`` and ``MODEL.LOSSES``."""
        mdpr = cfg.MODEL.MDPR
        dim, maps = mdpr.EMBEDDING_DIM, mdpr.ATTENTION.MAPS
        dims = {}
        if "hard" in mdpr.BRANCHES:
            dims["hard_global"] = dim
            dims |= {f"hard_part{i}": dim for i in range(mdpr.PARTS)}
        if "soft" in mdpr.BRANCHES:
            dims |= {"soft4": dim, "soft3": dim, "attention4": maps * dim, "attention3": maps * dim}
        if mdpr.FUSION.ENABLED:
            dims["fusion"] = 4 * dim

        def optional(name: str, wanted: bool) -> nn.Module | None:
            return build_loss(name, cfg) if wanted else None

        return {
            "heads": {name: _embedding_head(cfg, name, width) for name, width in dims.items()},
            "identity_losses": {_logged_name(name): build_loss(name, cfg) for name in cfg.MODEL.LOSSES.NAME},
            "inference_features": mdpr.INFERENCE_FEATURES,
            "fusion": FeatureFusion(dim, cfg.MODEL.HEADS.NORM) if mdpr.FUSION.ENABLED else None,
            "predictors": _predictors(cfg) if mdpr.DISTILL.ENABLED else None,
            "distillation_loss": optional("MutualDistillationLoss", mdpr.DISTILL.ENABLED),
            # One map has no pair to tell apart, and a weight of zero makes the loss a constant.
            "diversity_loss": optional("AttentionDiversityLoss", mdpr.ATTENTION.DIVERSITY_SCALE != 0 and maps > 1),
            "area_loss": optional("AttentionAreaLoss", mdpr.ATTENTION.AREA_SCALE != 0),
        }

    def wanted_maps(self) -> frozenset[str]:
        """Names of the maps that the next forward pass uses: all of them in training."""
        if not self.training:
            return maps_for(self.inference_features)
        names = {"hard_parts" if name.startswith("hard_part") else name for name in self.embedding_heads}
        return maps_for(names) | (names & {"attention4", "attention3"})

    def forward(
        self, hard: HardContent | None, soft: SoftContent | None, targets: torch.Tensor | None = None
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """Losses in training, the inference vector in evaluation.

        Args:
            hard: the hard branch's maps, or None where it does not exist or is not wanted.
            soft: the soft branch's maps, likewise.
            targets: ``[B]`` identity labels; needed in training.
        """
        inputs = self._head_inputs(hard, soft)
        if not self.training:
            return self._inference_vector(inputs)
        outputs = {name: head(inputs[name], targets) for name, head in self.embedding_heads.items()}
        _log_accuracy(outputs, targets)
        losses = self._identity_losses(outputs, targets)
        if soft is not None:
            losses |= self._attention_losses(soft)
        if self.predictors is not None:
            z1, z2 = outputs["hard_global"]["features"], outputs["soft4"]["features"]
            predicted2, predicted1 = self.predictors["hard_to_soft"](z1), self.predictors["soft_to_hard"](z2)
            losses["loss_distillation"] = self.distillation_loss(predicted2, z2, predicted1, z1)
        return losses

    def _head_inputs(self, hard: HardContent | None, soft: SoftContent | None) -> dict[str, torch.Tensor]:
        inputs = {}
        if hard is not None:
            inputs["hard_global"] = hard.global_map
            inputs |= {f"hard_part{i}": stripe for i, stripe in enumerate(hard.stripe_maps or ())}
        if soft is not None:
            inputs |= {"soft4": soft.map4, "soft3": soft.map3}
            if soft.pooled is not None:
                inputs["attention4"] = _as_map(soft.pooled.granularity4)
                inputs["attention3"] = _as_map(soft.pooled.granularity3)
        if self.fusion is not None and (self.training or "fusion" in self.inference_features):
            inputs["fusion"] = self.fusion(hard.global_map, hard.stripe_maps, soft.map4, soft.map3)
        return inputs

    def inference_heads(self) -> list[str]:
        """Names of the heads whose outputs make up the inference vector, in order."""
        names = []
        for feature in self.inference_features:
            if feature == "hard_parts":
                names += [name for name in self.embedding_heads if name.startswith("hard_part")]
            else:
                names.append(feature)
        return names

    def _inference_vector(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([self.embedding_heads[name](inputs[name]) for name in self.inference_heads()], dim=1)

    def _identity_losses(self, outputs: dict[str, dict], targets: torch.Tensor) -> dict[str, torch.Tensor]:
        losses = {}
        for feature, output in outputs.items():
            for name, loss in self.identity_losses.items():
                if loss.takes == "logits":
                    losses[f"loss_{name}_{feature}"] = loss(output["cls_outputs"], targets)
                elif not feature.startswith("attention"):
                    losses[f"loss_{name}_{feature}"] = loss(output["features"], targets)
        return losses

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
    if feature.startswith("attention"):
        settings["pool_type"] = "Identity"
    head = EmbeddingHead(**settings)
    if settings["cls_type"] == "CircleSoftmax":
        head.cls_layer = CircleSoftmax(settings["num_classes"], settings["scale"], settings["margin"])
    return head


def _predictors(cfg: CfgNode) -> dict[str, nn.Module]:
    heads = cfg.MODEL.HEADS
    dim = cfg.MODEL.MDPR.EMBEDDING_DIM
    if heads.EMBEDDING_DIM > 0 and heads.NECK_FEAT == "after":
        dim = heads.EMBEDDING_DIM
    norm = nn.SyncBatchNorm if heads.NORM == "syncBN" else nn.BatchNorm1d

    def predictor() -> nn.Sequential:
        return nn.Sequential(nn.Linear(dim, dim, bias=False), norm(dim), nn.ReLU(inplace=True), nn.Linear(dim, dim))

    return {"hard_to_soft": predictor(), "soft_to_hard": predictor()}


def _logged_name(loss: str) -> str:
    """The short name FastReID logs its own losses with; any other loss is logged under its class name."""
    return {"CrossEntropyLoss": "cls", "TripletLoss": "triplet"}.get(loss, loss)


def _log_accuracy(outputs: dict[str, dict], targets: torch.Tensor) -> None:
    """Put the classification accuracy of the last head, the fused one where it exists, beside the losses."""
    try:
        get_event_storage()
    except AssertionError:
        # A training loop of the user's own, without the toolbox's event storage.
        return
    log_accuracy(list(outputs.values())[-1]["pred_class_logits"].detach(), targets)
