"""What a comparison measures of a trained network: accuracy, rankings to look at, speed, attention."""

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import nn

from mdpr_fastreid.compare.captions import captions_of
from mdpr_fastreid.evaluation import Collected, Measured, RankLists, collect_outputs, evaluator_for, rank_lists
from mdpr_fastreid.modeling.brought import brought_by

LISTED = 10
"""Gallery images that are kept of each query's ranking."""
SECONDS_TO_MEASURE = 3.0
"""How long the speed of a network is measured."""


class Accuracy(NamedTuple):
    """How well a network ranks."""

    metrics: dict[str, float]
    """As the evaluator reports them: ``mAP``, ``Rank-1`` and so on."""
    cmc: list[float]
    """Up to rank 50, in percent."""


class OfPairing(NamedTuple):
    """How well one pairing of a model's outputs ranks."""

    metrics: dict[str, float]
    """As of :class:`Accuracy`."""
    average_precision: np.ndarray
    """``[V]``, 0 to 1, in the order of :class:`RankLists`."""


class Measurements(NamedTuple):
    """What the evaluator finds of a network on a test set."""

    plain: Accuracy
    reranked: Accuracy
    lists: RankLists
    """The rankings as they are, not re-ranked."""
    captions: np.ndarray | None
    """``[V, LISTED]`` what the model compared of each listed pair; None for a model that does not say."""
    own_metrics: dict[str, float]
    """What the model's own ``metrics`` found."""
    collected: Collected
    """Outputs and labels of the test images."""
    pairings: dict[str, OfPairing]
    """Of every pairing, by its name; not re-ranked. Empty for a model without pairings."""


def measure_accuracy(
    cfg: CfgNode, model: nn.Module, network: nn.Module, loader: Iterable, queries: int
) -> Measurements:
    """Rank a test set, with and without re-ranking.

    Of a model with several pairings, it is the first one that is re-ranked, and whose lists are kept.

    Args:
        cfg: of the run; whether or not ``TEST.RERANK`` is on makes no difference.
        model: what was trained, with what it brings along (:mod:`mdpr_fastreid.modeling.brought`).
        network: what computes the model's outputs.
        loader: FastReID's test loader, the queries first.
        queries: how many they are.

    Raises:
        SettingsError: the test set cannot be evaluated with these settings.
    """
    evaluator = evaluator_for(cfg, queries, model)
    collected = collect_outputs(cfg, network, loader, evaluator)
    measured = evaluator.measure(collected, reranked=False)
    plain, lists = _accuracy(measured), rank_lists(measured, collected, LISTED)
    del measured  # or two matrices of distances are kept
    pairings: dict[str, OfPairing] = {}
    for name in evaluator.pairings:
        first = OfPairing(plain.metrics, lists.average_precision)
        pairings[name] = _of_pairing(evaluator.measure(collected, name, reranked=False)) if pairings else first
    own_metrics = evaluator.own_metrics(collected, taken=plain.metrics)
    compared = brought_by(model).get("compared")
    captions = compared and captions_of(compared, *evaluator.paired(collected), lists.query, lists.gallery)
    reranked = _accuracy(evaluator.measure(collected, reranked=True))
    return Measurements(plain, reranked, lists, captions, own_metrics, collected, pairings)


def _of_pairing(measured: Measured) -> OfPairing:
    return OfPairing(_accuracy(measured).metrics, measured.ranking.average_precision)


def _accuracy(measured: Measured) -> Accuracy:
    metrics = {name: float(value) for name, value in measured.metrics.items()}
    return Accuracy(metrics, [float(value * 100) for value in measured.ranking.cmc])


def feature_length(collected: Collected, model: nn.Module) -> int:
    """How many numbers the model gives of a gallery image, of several pairings in the first."""
    outputs = collected.outputs
    if pairings := brought_by(model).get("pairings"):
        return outputs[next(iter(pairings.values()))[1]][0].numel()
    return sum(output[0].numel() for output in (outputs.values() if isinstance(outputs, dict) else (outputs,)))


def images_per_second(model: nn.Module, images: torch.Tensor, seconds: float | None = None) -> float:
    """Speed of the forward pass in evaluation, of the median batch; loading is not in it.

    Args:
        model: on the images' device.
        images: ``[B, 3, H, W]``.
        seconds: how long to measure (``SECONDS_TO_MEASURE``), after two batches to warm up, and for three at least.
    """
    seconds = SECONDS_TO_MEASURE if seconds is None else seconds
    was_training = model.training
    model.eval()
    times: list[float] = []
    with torch.no_grad():
        for _ in range(2):
            model(images)
        while len(times) < 3 or sum(times) < seconds:
            _wait(images)
            start = time.perf_counter()
            model(images)
            _wait(images)
            times.append(time.perf_counter() - start)
    model.train(was_training)
    return len(images) / float(np.median(times))


def query_attention(model: nn.Module, loader: Iterable, queries: int) -> np.ndarray | None:
    """MDPR's attention maps of the queries, or None for a model that has none.

    Returns:
        ``[Q, 2 M, h, w]`` uint8, attention times 255: the maps of stage 4, then those of stage 3.
    """
    if getattr(model, "soft", None) is None or not hasattr(model, "attention_maps"):
        return None
    model.eval()
    maps, seen = [], 0
    with torch.no_grad():
        for batch in loader:
            both = torch.cat(tuple(model.attention_maps(batch)), dim=1)
            maps.append((both * 255).round().to("cpu", torch.uint8).numpy())
            seen += len(both)
            if seen >= queries:
                break
    return np.concatenate(maps)[:queries]


def _wait(images: torch.Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
