"""The whole evaluation by a distance of a project's own, of synthetic outputs: seconds and peak memory."""

import argparse
import operator
import time

import numpy as np
import torch
from fastreid.config import get_cfg

from mdpr_fastreid.bench.clusters import clustered_outputs, random_identities
from mdpr_fastreid.bench.processes import resident_memory
from mdpr_fastreid.config.own_code import import_modules
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.evaluation import Evaluator
from mdpr_fastreid.evaluation.outputs import Distance

PLAIN, RERANKED = "own distance, whole evaluation", "own distance, whole evaluation, re-ranked"

_CAMERAS = 15
_BATCH = 64


def distance_named(name: str) -> Distance:
    """The function of ``module:function``.

    Raises:
        UsageError: there is no such module or function.
    """
    module, _, function = name.partition(":")
    if not function:
        raise UsageError(f"--distance {name}: give MODULE:FUNCTION")
    (imported,) = import_modules([module], option="--distance")
    try:
        return operator.attrgetter(function)(imported)
    except AttributeError as error:
        raise UsageError(f"--distance {name}: {module} has no {function}") from error


def measure(implementation: str, count: int, queries: int, args: argparse.Namespace) -> dict:
    """A row of the table, of this process.

    Args:
        implementation: ``PLAIN`` or ``RERANKED``.
        count: query and gallery images together.
        queries: how many of them are queries.
        args: with ``distance``, ``outputs``, ``k1``, ``k2`` and ``seed``.
    """
    cfg = get_cfg()
    cfg.TEST.ROC.ENABLED, cfg.TEST.RERANK.ENABLED = True, implementation == RERANKED
    cfg.TEST.RERANK.K1, cfg.TEST.RERANK.K2 = args.k1, args.k2
    evaluator = Evaluator(cfg, queries, distance=distance_named(args.distance))
    identities = random_identities(np.random.default_rng(args.seed), count)
    labels = torch.from_numpy(identities).split(_BATCH), (torch.arange(count) % _CAMERAS).split(_BATCH)
    batches = clustered_outputs(args.outputs, identities, args.seed, _BATCH)
    for targets, cameras, outputs in zip(*labels, batches, strict=True):
        is_single = list(outputs) == ["features"]
        evaluator.process({"targets": targets, "camids": cameras}, outputs["features"] if is_single else outputs)
    before, start = resident_memory("VmRSS"), time.perf_counter()
    metrics = evaluator.evaluate()
    return {
        "implementation": f"{args.distance}, {implementation}",
        "images": count,
        "queries": queries,
        "width": " + ".join("x".join(map(str, one.shape)) for one in args.outputs),
        "device": "cpu",
        "total_s": time.perf_counter() - start,
        "peak_gib": resident_memory("VmHWM"),
        "grown_gib": resident_memory("VmHWM") - before,
        "metrics": {name: float(value) for name, value in metrics.items()},
    }
