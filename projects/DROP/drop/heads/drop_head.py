"""The head of DROP: embeddings of the whole, the foreground and each part; the losses on them; what is compared."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, configurable
from fastreid.layers import any_softmax
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import nn

from drop.layers import part_pooling, part_visibility
from drop.losses import UNKNOWN, PartCompactnessTriplet, PartMemory, target_visibility
from mdpr_fastreid.data.masks import part_groups
from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling.event_storage import current_storage, log_accuracy
from mdpr_fastreid.modeling.layers import CircleSoftmax
from mdpr_fastreid.modeling.losses import CrossEntropyLoss, TripletLoss

# They name modules, too, so none is a word of Python's, as "global": exported networks are code
WHOLE, FOREGROUND, PARTS = "whole", "foreground", "parts"
_CLASSIFIED = (WHOLE, FOREGROUND, PARTS)
TARGET, PREDICTED, NONE = "target", "predicted", "none"


class Embeddings(NamedTuple):
    """What is pooled of a batch, reduced, before any neck; None of what a folded network does not compare."""

    whole: torch.Tensor | None
    """``[B, E]``."""
    foreground: torch.Tensor | None
    """``[B, E]``."""
    parts: torch.Tensor | None
    """``[B, K, E]``."""


class Learnt(NamedTuple):
    """What the head makes of a training batch."""

    pooled: Embeddings
    logits: dict[str, torch.Tensor]
    """``[B, identities]`` of each embedding that is classified, cosines where the classifier has a margin."""
    visible: torch.Tensor | None
    """``[B, K]``, which parts the triplet loss compares; None for all."""


@REID_HEADS_REGISTRY.register()
class DROPHead(nn.Module):
    """Pools a map where the parts are, and compares or classifies what is pooled.

    Identity losses on the embeddings of the whole picture, of the foreground and, concatenated, of the parts; a triplet
    loss on those of the parts (GiLt, arXiv 2211.03679), which reaches into a memory of past images (PCT, arXiv
    2401.18032).

    Args:
        parts: names of the ``K`` parts.
        channels: ``C`` of the map.
        dim: ``E``.
        identities: of the training set.
        identity_loss: on logits and targets.
        cls_layer: FastReID's layer on the logits, ``Linear``, or on cosines instead of them, one with a margin.
        triplet: the part-aware compactness triplet loss, or None.
        memory: of past part embeddings, or None.
        memory_from: iteration from which on the memory is compared with.
        foreground_triplet: on the foreground embedding, or None.
        pooling: as :func:`~drop.layers.part_pooling` takes it.
        binary: whether a part is visible or not, see :func:`~drop.layers.part_visibility`.
        min_cells: the same.
        visibility: which parts the triplet loss compares: ``target``, ``predicted`` or ``none`` for all.
        test_embeddings: of ``whole``, ``foreground`` and ``parts``.
    """

    @configurable
    def __init__(
        self,
        *,
        parts: tuple[str, ...],
        channels: int,
        dim: int,
        identities: int,
        identity_loss: nn.Module,
        cls_layer: nn.Module | None = None,
        triplet: nn.Module | None = None,
        memory: nn.Module | None = None,
        memory_from: int = 0,
        foreground_triplet: nn.Module | None = None,
        pooling: str = "avg+max",
        binary: bool = True,
        min_cells: int = 1,
        visibility: str = TARGET,
        test_embeddings: tuple[str, ...] = (FOREGROUND, PARTS),
    ):
        super().__init__()
        self.part_names = tuple(parts)
        self.reductions = nn.ModuleDict({name: _reduction(channels, dim) for name in _CLASSIFIED})
        lengths = {WHOLE: dim, FOREGROUND: dim, PARTS: dim * len(parts)}
        self.necks = nn.ModuleDict({name: _neck(length) for name, length in lengths.items()})
        self.identity_loss = identity_loss
        self.cls_layer = cls_layer or any_softmax.Linear(identities, 1, 0)
        std = 0.001 if self._is_linear else 0.01  # BPBreID's, and FastReID's for cosines
        self.classifiers = nn.ModuleDict({name: _weight(length, identities, std) for name, length in lengths.items()})
        self.triplet = triplet
        self.memory = memory
        self.memory_from = memory_from
        self.foreground_triplet = foreground_triplet
        self.pooling = pooling
        self.binary = binary
        self.min_cells = min_cells
        self.visibility = visibility
        self.test_embeddings = tuple(test_embeddings)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """The constructor's arguments, from ``MODEL.DROP``, ``MODEL.HEADS`` and ``MODEL.LOSSES``.

        Raises:
            SettingsError: another architecture, which has no probabilities of parts to give.
        """
        if cfg.MODEL.META_ARCHITECTURE != "DROP":
            raise SettingsError(
                f"DROPHead needs the parts that DROP finds, which {cfg.MODEL.META_ARCHITECTURE} does not: set "
                "MODEL.META_ARCHITECTURE DROP, or another MODEL.HEADS.NAME"
            )
        drop, heads, ce, tri = cfg.MODEL.DROP, cfg.MODEL.HEADS, cfg.MODEL.LOSSES.CE, cfg.MODEL.LOSSES.TRI
        parts, identities = part_groups(cfg).parts, heads.NUM_CLASSES
        # BPBreID smooths over all classes, the true one too: others get eps / C, and not eps / (C - 1)
        epsilon = ce.EPSILON * (identities - 1) / max(identities, 1)
        triplet = memory = foreground_triplet = None
        if drop.PCT.SCALE:
            triplet = PartCompactnessTriplet(
                margin=drop.PCT.MARGIN, mine=drop.PCT.MINE, bank_for=drop.PCT.BANK_FOR, scale=drop.PCT.SCALE
            )
            memory = PartMemory(drop.PCT.BANK_SIZE, len(parts), drop.EMBEDDING_DIM) if drop.PCT.BANK_SIZE else None
        if drop.FOREGROUND_TRIPLET:
            foreground_triplet = TripletLoss(
                margin=tri.MARGIN,
                normalize=tri.NORM_FEAT,
                hard_mining=tri.HARD_MINING,
                scale=drop.FOREGROUND_TRIPLET,
            )
        if heads.CLS_LAYER not in any_softmax.__all__:
            known = ", ".join(any_softmax.__all__)
            raise SettingsError(f"MODEL.HEADS.CLS_LAYER {heads.CLS_LAYER!r} is none of FastReID's layers: {known}")
        # FastReID's selects rows by index, for which the host waits for the GPU
        layer = CircleSoftmax if heads.CLS_LAYER == "CircleSoftmax" else getattr(any_softmax, heads.CLS_LAYER)
        start = drop.PCT.BANK_FROM_ITER
        return {
            "parts": parts,
            "channels": cfg.MODEL.BACKBONE.FEAT_DIM,
            "dim": drop.EMBEDDING_DIM,
            "identities": identities,
            "identity_loss": CrossEntropyLoss(epsilon=epsilon, alpha=ce.ALPHA, scale=ce.SCALE),
            "cls_layer": layer(identities, heads.SCALE, heads.MARGIN),
            "triplet": triplet,
            "memory": memory,
            "memory_from": cfg.SOLVER.WARMUP_ITERS if start < 0 else start,
            "foreground_triplet": foreground_triplet,
            "pooling": drop.POOLING,
            "binary": drop.VISIBILITY.BINARY,
            "min_cells": drop.VISIBILITY.MIN_CELLS,
            "visibility": drop.PCT.VISIBILITY,
            "test_embeddings": drop.TEST_EMBEDDINGS,
        }

    def forward(self, features: torch.Tensor, probabilities: torch.Tensor) -> dict[str, torch.Tensor]:
        """What is compared, in evaluation.

        Args:
            features: ``[B, C, h, w]``.
            probabilities: of background and parts, ``[B, K + 1, h', w']``.

        Returns:
            ``embeddings`` ``[B, J, E]``, each of length 1, and ``visibility`` ``[B, J]``: the whole picture's if it is
            asked for, the foreground's, those of the parts.
        """
        pooled = self.embeddings(features, probabilities)
        single = [self.necks[name](value) for name, value in self._single(pooled).items()]
        chosen = [embedding.unsqueeze(1) for embedding in single]
        visible = [probabilities.new_ones(probabilities.shape[0], 1)] * len(single)
        if PARTS in self.test_embeddings:
            chosen.append(pooled.parts)
            visible.append(part_visibility(probabilities, self.binary, self.min_cells).to(probabilities.dtype))
        embeddings = F.normalize(torch.cat(chosen, dim=1).float(), dim=2)
        return {"embeddings": embeddings, "visibility": torch.cat(visible, dim=1).float()}

    def _single(self, pooled: Embeddings) -> dict[str, torch.Tensor]:
        """Embeddings of the whole picture and the foreground that are compared in evaluation, before their necks."""
        both = {WHOLE: pooled.whole, FOREGROUND: pooled.foreground}
        return {name: value for name, value in both.items() if name in self.test_embeddings}

    def compared_names(self) -> tuple[str, ...]:
        """What each of the ``J`` embeddings is of."""
        single = (name for name in (WHOLE, FOREGROUND) if name in self.test_embeddings)
        return (*single, *(self.part_names if PARTS in self.test_embeddings else ()))

    def embeddings(self, features: torch.Tensor, probabilities: torch.Tensor) -> Embeddings:
        """What is pooled where the parts are, reduced to ``E`` numbers each."""
        pooled = part_pooling(features, probabilities, self.pooling)
        reduce = self.reductions
        return Embeddings(
            reduce[WHOLE](pooled.whole) if WHOLE in reduce else None,
            reduce[FOREGROUND](pooled.foreground) if FOREGROUND in reduce else None,
            reduce[PARTS](pooled.parts.flatten(0, 1)).unflatten(0, pooled.parts.shape[:2]) if PARTS in reduce else None,
        )

    def learn(self, features: torch.Tensor, probabilities: torch.Tensor, classes: torch.Tensor) -> Learnt:
        """What the losses of a training batch are computed from.

        Args:
            features: ``[B, C, h, w]``.
            probabilities: ``[B, K + 1, h', w']``.
            classes: ``[B, h', w']``, the class of each cell in the mask; 255 where it is not known.
        """
        pooled = self.embeddings(features, probabilities)
        inputs = {WHOLE: pooled.whole, FOREGROUND: pooled.foreground, PARTS: pooled.parts.flatten(1)}
        logits = {name: self._logits(name, self.necks[name](value)) for name, value in inputs.items()}
        return Learnt(pooled, logits, self._visibility(probabilities, classes) if self.triplet is not None else None)

    @property
    def _is_linear(self) -> bool:
        return type(self.cls_layer) is any_softmax.Linear

    def _logits(self, name: str, embeddings: torch.Tensor) -> torch.Tensor:
        weight = self.classifiers[name].weight
        if self._is_linear:
            return F.linear(embeddings, weight)
        return F.linear(F.normalize(embeddings), F.normalize(weight))

    def losses(self, learnt: Learnt, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scalar losses of a training batch.

        Args:
            learnt: what :meth:`learn` gave.
            targets: ``[B]`` identities.
        """
        pooled, logits, visible = learnt
        losses = {
            # Some of FastReID's layers change what they get
            f"loss_cls_{name}": self.identity_loss(self.cls_layer(value.clone(), targets), targets)
            for name, value in logits.items()
        }
        if self.foreground_triplet is not None:
            losses["loss_triplet_foreground"] = self.foreground_triplet(pooled.foreground, targets)
        if self.triplet is not None:
            losses["loss_pct"] = self.triplet(pooled.parts, targets, visible, self._bank())
            self._remember(pooled.parts, targets, visible)
        log_accuracy(logits[WHOLE], targets)
        return losses

    def _visibility(self, probabilities: torch.Tensor, classes: torch.Tensor) -> torch.Tensor | None:
        """``[B, K]``, which parts the triplet loss compares; None for all."""
        if self.visibility == NONE:
            return None
        predicted = part_visibility(probabilities.detach(), self.binary, self.min_cells)
        if self.visibility == PREDICTED:
            return predicted
        known = (classes != UNKNOWN).flatten(1).any(dim=1, keepdim=True)
        return torch.where(known, target_visibility(classes, len(self.part_names)).to(predicted.dtype), predicted)

    def _bank(self) -> PartMemory | None:
        return self.memory if self.memory is not None and _iteration() >= self.memory_from else None

    def _remember(self, parts: torch.Tensor, targets: torch.Tensor, visible: torch.Tensor | None) -> None:
        # Precise BN runs the model in training mode, without gradients and perhaps on other data
        if self.memory is not None and torch.is_grad_enabled():
            visible = parts.new_ones(parts.shape[:2]) if visible is None else visible
            self.memory.store(parts.detach(), targets, visible)

    def simplify_for_inference(self) -> None:
        """Take away, in place, what no output depends on; see :mod:`mdpr_fastreid.inference.folding`."""
        for name in ("classifiers", "cls_layer", "identity_loss", "triplet", "memory", "foreground_triplet"):
            setattr(self, name, None)
        for name in _CLASSIFIED:
            if name not in self.test_embeddings:
                del self.reductions[name]
            if name not in self.test_embeddings or name == PARTS:
                del self.necks[name]


def _reduction(channels: int, dim: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, as BPBreID reduces what it pools."""
    linear = nn.Linear(channels, dim)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.BatchNorm1d(dim), nn.ReLU(inplace=True))


def _neck(length: int) -> nn.BatchNorm1d:
    neck = nn.BatchNorm1d(length)
    neck.bias.requires_grad_(False)
    return neck


def _weight(length: int, identities: int, std: float) -> nn.Linear:
    weight = nn.Linear(length, identities, bias=False)
    nn.init.normal_(weight.weight, std=std)
    return weight


def _iteration() -> int:
    """Of the training; the end of it for a training loop without FastReID's event storage."""
    storage = current_storage()
    return 2**62 if storage is None else storage.iter
