"""What a comparison measures of a trained network: accuracy, rankings to look at, speed, attention."""

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.evaluation import inference_on_dataset
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils.compute_dist import build_dist
from torch import nn
from torch.nn.functional import normalize

from mdpr_fastreid.evaluation import rank_metrics

MAX_RANK = 50
"""Length of the CMC curves."""
LISTED = 10
"""Gallery images that are kept of each query's ranking."""
SECONDS_TO_MEASURE = 3.0
"""How long the speed of a network is measured."""


class TestSet(NamedTuple):
    """Features of the test images with their labels; the first ``queries`` are the queries."""

    features: torch.Tensor
    """``[N, D]`` float32."""
    identities: np.ndarray
    cameras: np.ndarray
    queries: int


class RankLists(NamedTuple):
    """The nearest gallery images of every query that has a positive, nearest first; junk left out."""

    query: np.ndarray
    """``[V]`` index of the query image in the test set."""
    average_precision: np.ndarray
    """``[V]``, 0 to 1."""
    gallery: np.ndarray
    """``[V, LISTED]`` index of the gallery image in the test set, -1 behind the end of a short gallery."""
    distance: np.ndarray
    """``[V, LISTED]``."""
    correct: np.ndarray
    """``[V, LISTED]`` bool: same identity."""


class _Collector(DatasetEvaluator):
    """Keeps what the toolbox's evaluator keeps, and leaves the rest to others."""

    def reset(self) -> None:
        self.features, self.identities, self.cameras = [], [], []

    def process(self, inputs: dict, outputs: torch.Tensor) -> None:
        self.features.append(outputs.to("cpu", torch.float32))
        self.identities.append(inputs["targets"].cpu())
        self.cameras.append(inputs["camids"].cpu())

    def evaluate(self) -> dict:
        return {}


def extract(model: nn.Module, loader: Iterable, queries: int, flip: bool = False) -> TestSet:
    """Features of every image of a test loader, by the toolbox's own loop.

    Args:
        model: gives ``[B, D]`` features.
        loader: FastReID's test loader, the queries first.
        queries: how many they are.
        flip: whether features are the mean over an image and its mirror image (``TEST.FLIP``).
    """
    collector = _Collector()
    inference_on_dataset(model, loader, collector, flip_test=flip)
    return TestSet(
        torch.cat(collector.features),
        torch.cat(collector.identities).numpy(),
        torch.cat(collector.cameras).numpy(),
        queries,
    )


def distances(cfg: CfgNode, test: TestSet) -> tuple[np.ndarray, np.ndarray]:
    """Distances ``[Q, G]`` as ``TEST.METRIC`` says, and the same re-ranked as ``TEST.RERANK`` says."""
    query, gallery = test.features[: test.queries], test.features[test.queries :]
    plain = build_dist(query, gallery, cfg.TEST.METRIC)
    if cfg.TEST.METRIC == "cosine":
        query, gallery = normalize(query), normalize(gallery)
    rerank = cfg.TEST.RERANK
    jaccard = build_dist(query, gallery, metric="jaccard", k1=rerank.K1, k2=rerank.K2)
    return plain, jaccard * (1 - rerank.LAMBDA) + plain * rerank.LAMBDA


def accuracy(distances: np.ndarray, test: TestSet) -> tuple[dict[str, float], list[float]]:
    """mAP, Rank-1, -5, -10 and mINP in percent, as FastReID reports them, and the CMC up to rank 50 in percent."""
    q = test.queries
    ranking = rank_metrics(
        distances, test.identities[:q], test.identities[q:], test.cameras[:q], test.cameras[q:], MAX_RANK
    )
    cmc = [100 * float(value) for value in ranking.cmc]
    metrics = {
        "mAP": 100 * float(ranking.average_precision.mean()),
        **{f"Rank-{rank}": cmc[min(rank, len(cmc)) - 1] for rank in (1, 5, 10)},
        "mINP": 100 * float(ranking.inverse_negative_penalty.mean()),
    }
    return metrics, cmc


def rank_lists(distances: np.ndarray, test: TestSet) -> RankLists:
    """The top of each query's ranking, for looking at it.

    Args:
        distances: ``[Q, G]``.
        test: the labels.
    """
    q = test.queries
    query_ids, gallery_ids = test.identities[:q], test.identities[q:]
    same = query_ids[:, None] == gallery_ids[None]
    junk = same & (test.cameras[:q, None] == test.cameras[None, q:])
    valid = (same & ~junk).any(axis=1)
    ranking = rank_metrics(distances, query_ids, gallery_ids, test.cameras[:q], test.cameras[q:])
    ranked = np.where(junk, np.inf, distances)[valid]
    order = np.argsort(ranked, axis=1, kind="stable")[:, :LISTED]
    distance = np.take_along_axis(ranked, order, axis=1)
    correct = np.take_along_axis(same[valid], order, axis=1)
    gallery = np.where(np.isfinite(distance), order + q, -1)
    return RankLists(np.flatnonzero(valid), ranking.average_precision, gallery, distance.astype(np.float32), correct)


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
