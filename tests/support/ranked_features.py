"""Features with labels for the evaluator, and stock's evaluator as it stands, as an oracle."""

from collections.abc import Callable

import numpy as np
import torch
from fastreid.config import CfgNode, get_cfg
from fastreid.evaluation import ReidEvaluator, rank, reid_evaluation
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import compute_dist

from mdpr_fastreid.compat import stock

QUERIES = 14


def features_with_labels() -> dict[str, torch.Tensor]:
    """Fourteen queries and 86 gallery images of ten identities under three cameras."""
    generator = torch.Generator().manual_seed(0)
    identities = torch.arange(100) % 10
    centres = torch.randn(10, 16, generator=generator)
    return {
        "feats": centres[identities] + 1.2 * torch.randn(100, 16, generator=generator),
        "pids": identities,
        "camids": torch.randint(0, 3, (100,), generator=generator),
    }


def config(*options) -> CfgNode:
    """FastReID's defaults and the plugin's, with ``KEY, VALUE, ...`` on top."""
    cfg = get_cfg()
    cfg.merge_from_list(list(options))
    return cfg


def evaluated(evaluator: DatasetEvaluator, features: dict, batch: int = 32) -> dict:
    """What an evaluator makes of features, a tensor or a dict of tensors, that come in batches."""
    outputs = features["feats"]
    for start in range(0, len(features["pids"]), batch):
        part = slice(start, start + batch)
        inputs = {"targets": features["pids"][part], "camids": features["camids"][part]}
        of_batch = {k: v[part] for k, v in outputs.items()} if isinstance(outputs, dict) else outputs[part]
        evaluator.process(inputs, of_batch)
    return evaluator.evaluate()


def of_rounded(ranked: Callable) -> Callable:
    """A ranking of distances to five places, so that equal ones stay equal however they were summed."""
    return lambda distances, *labels, **options: ranked(np.round(distances, 5), *labels, **options)


def stock_results(monkeypatch, cfg: CfgNode, features: dict, num_query: int = QUERIES) -> dict:
    """What stock's evaluator makes of features, with stock's own functions only, on its CPU path.

    Its distances are ranked to five places. It fails on the metric jaccard, for which it hands over neither ``k1``
    nor ``k2``: here it does.
    """
    jaccard = stock("fastreid.utils.compute_dist:compute_jaccard_distance")
    build_dist = compute_dist.build_dist

    def build_dist_with_settings(query, gallery, metric="euclidean", **settings):
        if metric == "jaccard":
            settings = {"k1": cfg.TEST.RERANK.K1, "k2": cfg.TEST.RERANK.K2} | settings
        return build_dist(query, gallery, metric, **settings)

    def on_cpu(features, k1, k2, search_option):
        return jaccard(features, k1, k2, search_option=3)

    with monkeypatch.context() as patched:
        patched.setattr(compute_dist, "compute_jaccard_distance", on_cpu)
        patched.setattr(rank, "evaluate_rank", of_rounded(stock("fastreid.evaluation.rank:evaluate_rank")))
        patched.setattr(reid_evaluation, "build_dist", build_dist_with_settings)
        return evaluated(ReidEvaluator(cfg, num_query), features)


def labels_of(features: dict, num_query: int = QUERIES) -> tuple[np.ndarray, ...]:
    """Identities of queries and gallery, cameras of queries and gallery."""
    ids, cameras = features["pids"].numpy(), features["camids"].numpy()
    return ids[:num_query], ids[num_query:], cameras[:num_query], cameras[num_query:]


def manhattan(query, gallery):
    """A distance that is none of the registered ones: ``[Q, D]``, ``[G, D]`` -> ``[Q, G]``."""
    return (query[:, None] - gallery[None]).abs().sum(dim=2)
