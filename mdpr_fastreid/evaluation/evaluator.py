"""The evaluator: from what a model gives of the test images to CMC, mAP, mINP and ROC.

The steps are in the order of this file: collect, expand, distances, rank. ``train_net.py``, the evaluation within
training and ``mdpr compare`` all use it.
"""

import itertools
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.evaluation import DatasetEvaluator
from fastreid.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.evaluation.distance_registry import Distance, Outputs, find_distance
from mdpr_fastreid.evaluation.outputs import count, joined_batches, kept_on_cpu, rows
from mdpr_fastreid.evaluation.query_expansion import average_query_expansion
from mdpr_fastreid.evaluation.ranking import Ranking, rank_metrics
from mdpr_fastreid.evaluation.reranking import METRICS, blended_distances, rerank_distances
from mdpr_fastreid.evaluation.roc import pair_scores, roc_curve
from mdpr_fastreid.evaluation.settings import check_distance, check_outputs, check_pairings, check_test_settings

MAX_RANK = 50
"""Length of the CMC."""

_REPORTED_RANKS = (1, 5, 10)
_FALSE_POSITIVE_RATES = (1e-4, 1e-3, 1e-2)


class Collected(NamedTuple):
    """What the model gave of all test images, the queries first, in the order of the data set."""

    outputs: Outputs
    """``[N, D]`` float32, or a dict of tensors with ``N`` rows each; on the CPU."""
    identities: np.ndarray
    """``[N]``."""
    cameras: np.ndarray
    """``[N]``."""
    num_query: int

    @property
    def labels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Identities of the queries and of the gallery, cameras of the queries and of the gallery."""
        q = self.num_query
        return self.identities[:q], self.identities[q:], self.cameras[:q], self.cameras[q:]


class Measured(NamedTuple):
    """One pairing of query and gallery outputs, ranked."""

    distances: np.ndarray
    """``[Q, G]``."""
    ranking: Ranking
    metrics: OrderedDict[str, float]
    """``Rank-1``, ``Rank-5``, ``Rank-10``, ``mAP``, ``mINP`` and ``metric`` in percent; with ``TEST.ROC`` also
    ``TPR@FPR=1e-04``, ``1e-03`` and ``1e-02`` as shares."""


class Evaluator(DatasetEvaluator):
    """Ranks the gallery for every query, by the settings under ``TEST``; gives stock ``ReidEvaluator``'s numbers.

    The model gives ``[B, D]`` features of a batch, or a dict of tensors with ``B`` rows each. A dict needs
    ``pairings``, or a distance that takes dicts.

    Args:
        cfg: the run's config.
        num_query: how many of the test images, the first ones, are queries.
        output_dir: not used; stock's evaluator has it.
        distance: takes the place of ``TEST.METRIC``: gets the outputs of the queries and of the gallery, on the CPU,
            and returns their distances ``[Q, G]``. ``TEST.RERANK`` then re-ranks by
            :func:`mdpr_fastreid.evaluation.rerank_distances` on the distances among queries, among gallery images and
            between them, which takes three matrices.
        pairings: names of the outputs that queries and gallery are compared by, by the pairing's name:
            ``{"I2V": ("image", "clip"), "V2V": ("clip", "clip")}``. Metrics are then called ``I2V/mAP`` and so on, and
            ``metric``, by which the best checkpoint is chosen, is that of the first pairing.

    Raises:
        SettingsError: a setting under ``TEST`` that cannot be, or pairings or a distance that are none.
    """

    def __init__(
        self,
        cfg: CfgNode,
        num_query: int,
        output_dir: str | None = None,
        *,
        distance: Distance | None = None,
        pairings: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        check_test_settings(cfg)
        check_distance(distance)
        check_pairings(pairings)
        self.cfg = cfg
        self.pairings = dict(pairings or {})
        self._num_query, self._distance = num_query, distance
        self.reset()

    def adopt(self, model: nn.Module) -> None:
        """Take over the distance and the pairings that a model brings along, if it does.

        Args:
            model: may have ``distance`` and ``pairings``, as the constructor takes them; what
                ``DistributedDataParallel`` wraps is asked itself.

        Raises:
            SettingsError: they are no distance or no pairings.
        """
        model = model.module if isinstance(model, DistributedDataParallel) else model
        distance, pairings = getattr(model, "distance", None), getattr(model, "pairings", None)
        if distance is not None:
            check_distance(distance)
            _log(f"{type(model).__name__} brings its own distance, so TEST.METRIC {self.cfg.TEST.METRIC} is not used")
            self._distance = distance
        if pairings is not None:
            check_pairings(pairings)
            self.pairings = dict(pairings)

    def reset(self) -> None:
        """Forget what was collected."""
        self._batches: list[tuple[Outputs, torch.Tensor, torch.Tensor]] = []

    def process(self, inputs: dict, outputs: Outputs) -> None:
        """Keep what the model gave of a batch.

        Args:
            inputs: the batch, with ``targets`` ``[B]`` and ``camids`` ``[B]``.
            outputs: ``[B, D]``, or a dict of tensors with ``B`` rows each.

        Raises:
            SettingsError: outputs of another kind, or that ``pairings`` or ``TEST`` cannot be used with.
        """
        if not self._batches:
            check_outputs(outputs, self.cfg, self.pairings, self._distance)
        outputs = kept_on_cpu(outputs, len(inputs["targets"]))
        self._batches.append((outputs, inputs["targets"].cpu(), inputs["camids"].cpu()))

    @torch.no_grad()
    def evaluate(self) -> OrderedDict[str, float]:
        """The metrics of what was collected, re-ranked if ``TEST.RERANK`` says so; empty but on the main process.

        Raises:
            SettingsError: the test set cannot be evaluated with these settings.
        """
        collected = self.collect()
        if collected is None:
            return OrderedDict()
        if not self.pairings:
            return self.measure(collected).metrics
        results, overall = OrderedDict(), []
        for name in self.pairings:
            metrics = self.measure(collected, name).metrics
            overall.append(metrics.pop("metric"))
            results.update({f"{name}/{key}": value for key, value in metrics.items()})
        results["metric"] = overall[0]
        return results

    def collect(self) -> Collected | None:
        """Everything that was processed, by all processes, in the order of their ranks; None but on the main one."""
        batches = self._batches
        if comm.get_world_size() > 1:
            comm.synchronize()
            gathered = comm.gather(self._batches, dst=0)
            if not comm.is_main_process():
                return None
            batches = list(itertools.chain(*gathered))
        if not batches:
            raise SettingsError("the test set cannot be evaluated: it has no images")
        outputs, identities, cameras = zip(*batches, strict=True)
        labels = torch.cat(identities).numpy(), torch.cat(cameras).numpy()
        return Collected(joined_batches(outputs), *labels, self._num_query)

    def measure(self, collected: Collected, pairing: str | None = None, reranked: bool | None = None) -> Measured:
        """Rank one pairing.

        Args:
            collected: as :meth:`collect` returned it.
            pairing: its name, the first one by default.
            reranked: whether to re-rank, with the settings of ``TEST.RERANK``; by default what that section says.

        Raises:
            SettingsError: the test set cannot be evaluated with these settings.
        """
        reranked = self.cfg.TEST.RERANK.ENABLED if reranked is None else reranked
        try:
            query, gallery = self._expanded(*self._paired(collected, pairing))
            return self._ranked(self._distances(query, gallery, reranked), collected)
        except SettingsError:
            raise
        except ValueError as error:  # of our functions, each with one line that names what cannot be
            raise SettingsError(f"the test set cannot be evaluated: {error}") from error

    def _paired(self, collected: Collected, pairing: str | None) -> tuple[Outputs, Outputs]:
        outputs, q = collected.outputs, collected.num_query
        if not self.pairings:
            return rows(outputs, slice(q)), rows(outputs, slice(q, None))
        of_query, of_gallery = self.pairings[pairing or next(iter(self.pairings))]
        return outputs[of_query][:q], outputs[of_gallery][q:]

    def _expanded(self, query: Outputs, gallery: Outputs) -> tuple[Outputs, Outputs]:
        expansion = self.cfg.TEST.AQE
        if not expansion.ENABLED:
            return query, gallery
        _log(f"Query expansion: {expansion.QE_K} neighbours, {expansion.QE_TIME} times, alpha {expansion.ALPHA}")
        return average_query_expansion(query, gallery, expansion.QE_TIME, expansion.QE_K, expansion.ALPHA)

    def _distances(self, query: Outputs, gallery: Outputs, reranked: bool) -> np.ndarray:
        """Distances ``[Q, G]`` by ``TEST.METRIC`` or a distance of one's own, re-ranked or not."""
        metric, own = self.cfg.TEST.METRIC, self._distance
        rerank = self.cfg.TEST.RERANK
        settings = {"k1": rerank.K1, "k2": rerank.K2, "lambda_value": rerank.LAMBDA}
        if reranked:
            which = "the model's own" if own else metric
            _log(f"Re-ranking: k1 {rerank.K1}, k2 {rerank.K2}, lambda {rerank.LAMBDA}, {which} distance")
        # The jaccard distance is what re-ranking mixes in, so its settings are those of re-ranking
        if own is None and (metric == "jaccard" or (reranked and metric in METRICS)):
            return blended_distances(_on_gpu(query), _on_gpu(gallery), metric, **settings).cpu().numpy()
        between = own or find_distance(metric)
        distances = _matrix(between, query, gallery)
        if not reranked:
            return distances
        return rerank_distances(
            distances, _matrix(between, query, query), _matrix(between, gallery, gallery), **settings
        )

    def _ranked(self, distances: np.ndarray, collected: Collected) -> Measured:
        ranking = rank_metrics(distances, *collected.labels, MAX_RANK, self.cfg.TEST.AP)
        mean_ap, mean_inp = ranking.average_precision.mean(), ranking.inverse_negative_penalty.mean()
        metrics = OrderedDict()
        for rank in _REPORTED_RANKS:  # in a gallery of fewer images, looking further finds nothing more
            metrics[f"Rank-{rank}"] = ranking.cmc[min(rank, len(ranking.cmc)) - 1] * 100
        metrics["mAP"] = mean_ap * 100
        metrics["mINP"] = mean_inp * 100
        metrics["metric"] = (mean_ap + ranking.cmc[0]) / 2 * 100
        if self.cfg.TEST.ROC.ENABLED:
            scores, labels = pair_scores(distances, *collected.labels)
            false_rates, true_rates, _ = roc_curve(labels, scores)
            for rate in _FALSE_POSITIVE_RATES:
                metrics[f"TPR@FPR={rate:.0e}"] = true_rates[np.argmin(np.abs(false_rates - rate))]
        return Measured(distances, ranking, metrics)


def _matrix(distance: Distance, query: Outputs, gallery: Outputs) -> np.ndarray:
    """What a distance gives, as an array ``[Q, G]``."""
    distances = distance(query, gallery)
    if isinstance(distances, torch.Tensor):
        distances = distances.cpu().numpy()
    expected = count(query), count(gallery)
    if np.shape(distances) != expected:
        raise SettingsError(
            f"a distance must be [Q, G], here {list(expected)}, but {_name(distance)} returned "
            f"{list(np.shape(distances))}"
        )
    return distances


def _name(distance: Distance) -> str:
    return getattr(distance, "__name__", type(distance).__name__)


def _on_gpu(features: torch.Tensor) -> torch.Tensor:
    """``features`` on the current GPU, or where they are if there is none."""
    return features.cuda() if torch.cuda.is_available() else features


def _log(message: str) -> None:
    logging.getLogger("fastreid").info(message)
