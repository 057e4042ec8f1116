"""MDPR in the order its published implementation computes in: what the speed of ours is measured against."""

import itertools

import torch
import torch.nn.functional as F
from fastreid.layers import any_softmax
from fastreid.modeling.losses import cross_entropy_loss, triplet_loss
from torch import nn

from mdpr_fastreid.engine.steps import TrainingStep
from mdpr_fastreid.modeling.features import heads_on
from mdpr_fastreid.modeling.images import images_of
from mdpr_fastreid.modeling.layers import AttentionMaker, AttentionPooling, Embedding
from mdpr_fastreid.modeling.meta_arch.mdpr import MDPR


class PublishedOrder(nn.Module):
    """Runs an MDPR model's own modules as the published implementation orders them (arXiv 2401.06430).

    Nothing is folded or left out: attention maps are computed, and pooled through, in evaluation too, where the output
    does not use them; each attention map is multiplied into the features before its own embedding; the fusion block's
    1x1 and 3x3 convolutions run one after the other. In training, class logits and losses are FastReID's functions,
    and the diversity loss is summed up on the host, sample by sample.

    Args:
        model: with both branches, distillation, fusion and all inference features; it becomes this network's, and its
            class-logit layers are replaced by FastReID's.

    Raises:
        ValueError: the model has not all of that.
    """

    def __init__(self, model: MDPR):
        super().__init__()
        heads = model.heads
        parts = (model.hard, model.soft, heads.fusion, heads.predictors, heads.diversity_loss, heads.area_loss)
        if any(part is None for part in parts) or heads.branch_losses is not None:
            raise ValueError("the published order of computation is that of MDPR with all its parts, the cosine alone")
        for head in heads.embedding_heads.values():
            stock = getattr(any_softmax, type(head.cls_layer).__name__)
            head.cls_layer = stock(head.cls_layer.num_classes, head.cls_layer.s, head.cls_layer.m)
        self.model = model

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.model.device

    def forward(self, batch: dict | torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """As :meth:`MDPR.forward`: losses in training, features ``[B, D]`` in evaluation."""
        model, backbone = self.model, self.model.backbone
        images = images_of(batch)
        shared = backbone.trunk((images - model.pixel_mean) / model.pixel_std)
        maps = self._hard(backbone.hard(shared))
        x3 = backbone.soft.stage3(shared)
        soft, attention, pooled = self._soft(x3, backbone.soft.stage4(x3))
        maps |= soft
        maps["fusion"] = self._fusion(maps)
        if not model.training:
            heads = model.heads
            return torch.cat([heads.embedding_heads[name](maps[name]) for name in heads.inference_heads()], dim=1)
        return self._losses(maps, attention, pooled, batch["targets"])

    def _hard(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        hard = self.model.hard
        stripes = features.tensor_split(len(hard.stripe_embeddings), dim=2)
        maps = {"hard_global": _embed(hard.global_embedding, features)}
        names = heads_on("hard_parts", len(stripes))
        for name, embedding, stripe in zip(names, hard.stripe_embeddings, stripes, strict=True):
            maps[name] = _embed(embedding, stripe)
        return maps

    def _soft(self, x3: torch.Tensor, x4: torch.Tensor) -> tuple[dict, list[torch.Tensor], list[list[torch.Tensor]]]:
        soft = self.model.soft
        map4, refined3 = _embed(soft.embedding4, x4), _embed(soft.refine3, x3)
        map3 = _embed(soft.embedding3, refined3)
        scores4 = _scores(soft.attention_maker4, x4)
        guided = x3
        if soft.guidance is not None:
            guided = torch.cat([x3, F.relu(soft.guidance.conv(scores4))], dim=1)
        scores3 = _scores(soft.attention_maker3, guided)
        attention = [scores.softmax(dim=1)[:, :-1] for scores in (scores4, scores3)]
        pooled = [_pooled(soft.pooling4, x4, attention[0]), _pooled(soft.pooling3, refined3, attention[1])]
        maps = {"soft4": map4, "soft3": map3}
        for name, vectors in zip(heads_on("attention", 1), pooled, strict=True):
            maps[name] = F.relu(torch.cat(vectors, dim=1))
        return maps, attention, [[vector.flatten(1) for vector in vectors] for vectors in pooled]

    def _fusion(self, maps: dict[str, torch.Tensor]) -> torch.Tensor:
        fusion = self.model.heads.fusion
        stripes = [maps[name] for name in heads_on("hard_parts", len(self.model.hard.stripe_embeddings))]
        hard = fusion.hard(torch.cat([fusion.stripes(torch.cat(stripes, dim=2)), maps["hard_global"]], dim=1))
        soft = fusion.soft(torch.cat([maps["soft4"], maps["soft3"]], dim=1))
        return fusion.output(torch.cat([hard, soft], dim=1))

    def _losses(self, maps: dict, attention: list, pooled: list, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        heads, losses = self.model.heads, {}
        outputs = {name: head(maps[name], targets) for name, head in heads.embedding_heads.items()}
        cls, triplet = heads.identity_losses["cls"], heads.identity_losses["triplet"]
        for name, output in outputs.items():
            loss = cross_entropy_loss(output["cls_outputs"], targets, cls.epsilon, cls.alpha)
            losses[f"loss_cls_{name}"] = loss * cls.scale
            if name not in heads_on("attention", 1):
                loss = triplet_loss(output["features"], targets, triplet.margin, triplet.normalize, triplet.hard_mining)
                losses[f"loss_triplet_{name}"] = loss * triplet.scale
        for granularity, area, vectors in zip((4, 3), attention, pooled, strict=True):
            losses[f"loss_diversity{granularity}"] = _diversity(vectors) * heads.diversity_loss.scale
            losses[f"loss_area{granularity}"] = area.sum() / len(area) * heads.area_loss.scale
        z1, z2 = outputs["hard_global"]["features"], outputs["soft4"]["features"]
        predicted2, predicted1 = heads.predictors["hard_to_soft"](z1), heads.predictors["soft_to_hard"](z2)
        losses["loss_distillation"] = heads.distillation_loss(predicted2, z2, predicted1, z1)
        return losses


class PublishedTrainer(TrainingStep):
    """The published training step: every loss is read by the host at every step, and has to be finite."""

    def _write_metrics(self, loss_dict: dict[str, torch.Tensor], data_time: float) -> None:
        values = {name: loss.detach().cpu().item() for name, loss in loss_dict.items()}
        self.storage.put_scalars(total_loss=sum(values.values()), data_time=data_time, **values)


def _embed(embedding: Embedding, features: torch.Tensor) -> torch.Tensor:
    return F.relu(embedding.bn(embedding.conv(features)), inplace=True)


def _scores(maker: AttentionMaker, features: torch.Tensor) -> torch.Tensor:
    return F.relu(maker.bn(maker.conv1x1(features) + maker.conv3x3(features)))


def _pooled(pooling: AttentionPooling, features: torch.Tensor, attention: torch.Tensor) -> list[torch.Tensor]:
    maps = attention.unsqueeze(2).unbind(1)
    embeddings = zip(pooling.embeddings, maps, strict=True)
    return [pooling.gem(_embed(embedding, features * one)) for embedding, one in embeddings]


def _diversity(vectors: list[torch.Tensor]) -> torch.Tensor:
    total = vectors[0].new_zeros((), device="cpu")
    for first, second in itertools.combinations(vectors, 2):
        for cosine in F.cosine_similarity(first, second):
            total = total + cosine.cpu() / len(first)
    return total.to(vectors[0].device)
