"""The evaluator: from what a model gives of the test images to CMC, mAP, mINP and ROC.

The steps are in the order of this file: collect, expand, distances, rank. ``train_net.py``, the evaluation within
training and ``mdpr compare`` all use it.
"""

import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.evaluation import DatasetEvaluator
from fastreid.utils import comm
from torch import nn

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.evaluation.distance import BLOCK_METRICS, distance_blocks
from mdpr_fastreid.evaluation.distance_registry import find_distance
from mdpr_fastreid.evaluation.neighbors import Search, nearest_neighbors
from mdpr_fastreid.evaluation.outputs import Distance, GrowingOutputs, Outputs, joined_outputs, kept_on_cpu, rows
from mdpr_fastreid.evaluation.pairwise import distances_of
from mdpr_fastreid.evaluation.query_expansion import average_query_expansion
from mdpr_fastreid.evaluation.ranking import BlockRanker, Ranking, rank_by_rules
from mdpr_fastreid.evaluation.reranking import METRICS, blended_distances, rerank_by
from mdpr_fastreid.evaluation.roc import roc_of_distances
from mdpr_fastreid.evaluation.settings import (
    Metrics,
    check_distance,
    check_metrics,
    check_outputs,
    check_pairings,
    check_test_settings,
    checked_metrics,
    rules_of_average_precision,
)
from mdpr_fastreid.evaluation.shared_ranking import own_part, rank_part
from mdpr_fastreid.evaluation.shared_search import help_search, shared_search
from mdpr_fastreid.modeling.brought import brought_by

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
    """With the average precision that ``mAP`` is the mean of."""
    metrics: OrderedDict[str, float]
    """``Rank-1``, ``Rank-5``, ``Rank-10``, ``mAP``, ``mINP`` and ``metric`` in percent; with ``TEST.AP both`` also
    ``mAP trapezoid``, with ``TEST.ROC`` also ``TPR@FPR=1e-04``, ``1e-03`` and ``1e-02`` as shares."""


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
            :func:`mdpr_fastreid.evaluation.rerank_by`, for which it must compute each pair on its own.
        pairings: names of the outputs that queries and gallery are compared by, by the pairing's name:
            ``{"I2V": ("image", "clip"), "V2V": ("clip", "clip")}``. Metrics are then called ``I2V/mAP`` and so on, and
            ``metric``, by which the best checkpoint is chosen, is that of the first pairing.
        metrics: gets the outputs of all test images, queries first, on the CPU, and returns further numbers by name,
            which are reported beside these and are no part of ``metric``.

    Raises:
        SettingsError: a setting under ``TEST`` that cannot be, or pairings, a distance or metrics that are none.
    """

    def __init__(
        self,
        cfg: CfgNode,
        num_query: int,
        output_dir: str | None = None,
        *,
        distance: Distance | None = None,
        pairings: Mapping[str, tuple[str, str]] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        check_test_settings(cfg)
        self.cfg = cfg
        self._num_query = num_query
        self._set(distance, pairings, metrics)
        self.reset()

    def _set(
        self,
        distance: Distance | None,
        pairings: Mapping[str, tuple[str, str]] | None,
        metrics: Metrics | None,
    ) -> None:
        check_distance(distance)
        check_pairings(pairings)
        check_metrics(metrics)
        self._distance, self.pairings, self._metrics = distance, dict(pairings or {}), metrics

    def adopt(self, model: nn.Module) -> None:
        """Take over what a model brings along for its evaluation, see :mod:`mdpr_fastreid.modeling.brought`.

        Args:
            model: may have ``distance``, ``pairings`` and ``metrics``, as the constructor takes them; what
                ``DistributedDataParallel`` wraps is asked itself.

        Raises:
            SettingsError: they are no distance, no pairings or no metrics.
        """
        brought = brought_by(model)
        self._set(
            brought.get("distance", self._distance),
            brought.get("pairings", self.pairings or None),
            brought.get("metrics", self._metrics),
        )
        if "distance" in brought:
            _log(f"{type(model).__name__} brings its own distance, so TEST.METRIC {self.cfg.TEST.METRIC} is not used")

    def reset(self) -> None:
        """Forget what was collected."""
        self._outputs = GrowingOutputs()
        self._labels: list[tuple[torch.Tensor, torch.Tensor]] = []

    def process(self, inputs: dict, outputs: Outputs) -> None:
        """Keep what the model gave of a batch.

        Args:
            inputs: the batch, with ``targets`` ``[B]`` and ``camids`` ``[B]``.
            outputs: ``[B, D]``, or a dict of tensors with ``B`` rows each.

        Raises:
            SettingsError: outputs of another kind, or that ``pairings`` or ``TEST`` cannot be used with.
        """
        if not self._outputs:
            check_outputs(outputs, self.cfg, self.pairings, self._distance)
        self._outputs.add(kept_on_cpu(outputs, len(inputs["targets"])))
        self._labels.append((inputs["targets"].cpu(), inputs["camids"].cpu()))

    @torch.no_grad()
    def evaluate(self) -> OrderedDict[str, float]:
        """The metrics of what was collected, re-ranked if ``TEST.RERANK`` says so; empty but on the main process.

        Several processes share the work: each ranks the gallery images that it has computed, by cosine or euclidean
        distance; for re-ranking they search the nearest neighbours together. Whatever else is asked for, such as
        ``TEST.AQE`` and ``TEST.ROC``, the main process does with what all have collected.

        Raises:
            SettingsError: the test set cannot be evaluated with these settings.
        """
        if comm.get_world_size() > 1 and (results := self._shared()) is not None:
            return results
        collected = self.collect()
        if collected is None:
            help_search()
            return OrderedDict()
        with shared_search() as search:
            results = self._measured(lambda pairing: self._metrics_of(collected, pairing, search))
        results.update(self.own_metrics(collected, taken=results))
        return results

    def _shared(self) -> OrderedDict[str, float] | None:
        """The metrics, ranked where the outputs are; None, in all processes, where that cannot be."""
        if not self._ranks_in_blocks or self.cfg.TEST.AQE.ENABLED or self._metrics:
            return None
        outputs = self._outputs.outputs() if self._outputs else None
        part = own_part(outputs, *(labels.numpy() for labels in self._joined_labels()), self._num_query)
        if part is None:
            return None
        rankers = {}
        for name in self.pairings or (None,):
            of_query, of_gallery = self._compared(part.query, part.gallery, name)
            rules = rules_of_average_precision(self.cfg)
            rankers[name] = rank_part(part, self.cfg.TEST.METRIC, of_query, of_gallery, MAX_RANK, rules)
            if rankers[name] is None:
                return None
        if not comm.is_main_process():
            return OrderedDict()
        with _errors_of_settings():
            return self._measured(lambda pairing: _reported(rankers[pairing].rankings()))

    def _measured(self, metrics_of: Callable[[str | None], OrderedDict[str, float]]) -> OrderedDict[str, float]:
        """The metrics of all pairings."""
        if not self.pairings:
            return metrics_of(None)
        results, overall = OrderedDict(), []
        for name in self.pairings:
            metrics = metrics_of(name)
            overall.append(metrics.pop("metric"))
            results.update({f"{name}/{key}": value for key, value in metrics.items()})
        results["metric"] = overall[0]
        return results

    def own_metrics(self, collected: Collected, taken: Collection[str] = ()) -> dict[str, float]:
        """What the model's own ``metrics`` find in the outputs; nothing if there are none.

        Args:
            collected: as :meth:`collect` returned it.
            taken: names that they must not have.

        Raises:
            SettingsError: what they return is no mapping of names to numbers, or has a name that is taken.
        """
        return {} if self._metrics is None else checked_metrics(self._metrics(collected.outputs), taken)

    def collect(self) -> Collected | None:
        """Everything that was processed, by all processes, in the order of their ranks; None but on the main one."""
        parts = [(self._outputs.outputs(), *self._joined_labels())] if self._outputs else []
        if comm.get_world_size() > 1:
            comm.synchronize()
            gathered = comm.gather(parts, dst=0)
            if not comm.is_main_process():
                return None
            parts = list(itertools.chain(*gathered))
        if not parts:
            raise SettingsError("the test set cannot be evaluated: it has no images")
        outputs, identities, cameras = zip(*parts, strict=True)
        labels = torch.cat(identities).numpy(), torch.cat(cameras).numpy()
        return Collected(joined_outputs(outputs), *labels, self._num_query)

    def _joined_labels(self) -> tuple[torch.Tensor, torch.Tensor]:
        if not self._labels:
            return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
        identities, cameras = zip(*self._labels, strict=True)
        return torch.cat(identities), torch.cat(cameras)

    def measure(
        self,
        collected: Collected,
        pairing: str | None = None,
        reranked: bool | None = None,
        search: Search = nearest_neighbors,
    ) -> Measured:
        """Rank one pairing.

        Args:
            collected: as :meth:`collect` returned it.
            pairing: its name, the first one by default.
            reranked: whether to re-rank, with the settings of ``TEST.RERANK``; by default what that section says.
            search: finds the neighbours that re-ranking asks for.

        Raises:
            SettingsError: the test set cannot be evaluated with these settings.
        """
        reranked = self.cfg.TEST.RERANK.ENABLED if reranked is None else reranked
        with _errors_of_settings():
            query, gallery = self._expanded(*self.paired(collected, pairing))
            distances = self._distances(query, gallery, reranked, search)
            rankings = rank_by_rules(distances, *collected.labels, MAX_RANK, rules_of_average_precision(self.cfg))
            metrics = _reported(rankings)
            if self.cfg.TEST.ROC.ENABLED:
                false_rates, true_rates, _ = roc_of_distances(distances, *collected.labels)
                for rate in _FALSE_POSITIVE_RATES:
                    metrics[f"TPR@FPR={rate:.0e}"] = true_rates[np.argmin(np.abs(false_rates - rate))]
            return Measured(distances, next(iter(rankings.values())), metrics)

    def _metrics_of(self, collected: Collected, pairing: str | None, search: Search) -> OrderedDict[str, float]:
        """The metrics of :meth:`measure`, without ever holding all distances where they can be had in blocks."""
        if not self._ranks_in_blocks:
            return self.measure(collected, pairing, search=search).metrics
        with _errors_of_settings():
            ranker = BlockRanker(*collected.labels, MAX_RANK, rules_of_average_precision(self.cfg))
            features = self._expanded(*self.paired(collected, pairing))
            for rows, distances in distance_blocks(self.cfg.TEST.METRIC, *features):
                ranker.add(rows, distances.numpy())
            return _reported(ranker.rankings())

    @property
    def _ranks_in_blocks(self) -> bool:
        test = self.cfg.TEST
        return not (self._distance or test.METRIC not in BLOCK_METRICS or test.RERANK.ENABLED or test.ROC.ENABLED)

    def paired(self, collected: Collected, pairing: str | None = None) -> tuple[Outputs, Outputs]:
        """The outputs of the queries and of the gallery that a pairing, by default the first one, compares."""
        outputs, q = collected.outputs, collected.num_query
        return self._compared(rows(outputs, slice(q)), rows(outputs, slice(q, None)), pairing)

    def _compared(self, query: Outputs, gallery: Outputs, pairing: str | None) -> tuple[Outputs, Outputs]:
        if not self.pairings:
            return query, gallery
        of_query, of_gallery = self.pairings[pairing or next(iter(self.pairings))]
        return query[of_query], gallery[of_gallery]

    def _expanded(self, query: Outputs, gallery: Outputs) -> tuple[Outputs, Outputs]:
        expansion = self.cfg.TEST.AQE
        if not expansion.ENABLED:
            return query, gallery
        _log(f"Query expansion: {expansion.QE_K} neighbours, {expansion.QE_TIME} times, alpha {expansion.ALPHA}")
        return average_query_expansion(query, gallery, expansion.QE_TIME, expansion.QE_K, expansion.ALPHA)

    def _distances(self, query: Outputs, gallery: Outputs, reranked: bool, search: Search) -> np.ndarray:
        """Distances ``[Q, G]`` by ``TEST.METRIC`` or a distance of one's own, re-ranked or not."""
        metric, own = self.cfg.TEST.METRIC, self._distance
        rerank = self.cfg.TEST.RERANK
        settings = {"k1": rerank.K1, "k2": rerank.K2, "lambda_value": rerank.LAMBDA}
        if reranked:
            which = "the model's own" if own else metric
            _log(f"Re-ranking: k1 {rerank.K1}, k2 {rerank.K2}, lambda {rerank.LAMBDA}, {which} distance")
        # The jaccard distance is what re-ranking mixes in, so its settings are those of re-ranking
        if own is None and (metric == "jaccard" or (reranked and metric in METRICS)):
            features = _on_gpu(query), _on_gpu(gallery)
            return blended_distances(*features, metric, **settings, search=search).cpu().numpy()
        between = own or find_distance(metric)
        if reranked:
            distances = rerank_by(between, query, gallery, **settings)
        else:
            distances = distances_of(between, query, gallery)
        return distances.cpu().numpy() if isinstance(distances, torch.Tensor) else distances


@contextmanager
def _errors_of_settings() -> Iterator[None]:
    """Around our functions, whose ``ValueError`` has one line that names what cannot be."""
    try:
        yield
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"the test set cannot be evaluated: {error}") from error


def _reported(rankings: Mapping[str, Ranking]) -> OrderedDict[str, float]:
    """What is reported of rankings by the rules of average precision, the first of which ``mAP`` is by."""
    ranking = next(iter(rankings.values()))
    mean_ap, mean_inp = ranking.average_precision.mean(), ranking.inverse_negative_penalty.mean()
    metrics = OrderedDict()
    for rank in _REPORTED_RANKS:  # in a gallery of fewer images, looking further finds nothing more
        metrics[f"Rank-{rank}"] = ranking.cmc[min(rank, len(ranking.cmc)) - 1] * 100
    metrics["mAP"] = mean_ap * 100
    for rule in list(rankings)[1:]:
        metrics[f"mAP {rule}"] = rankings[rule].average_precision.mean() * 100
    metrics["mINP"] = mean_inp * 100
    metrics["metric"] = (mean_ap + ranking.cmc[0]) / 2 * 100
    return metrics


def _on_gpu(features: torch.Tensor) -> torch.Tensor:
    """``features`` on the current GPU, or where they are if there is none."""
    return features.cuda() if torch.cuda.is_available() else features


def _log(message: str) -> None:
    logging.getLogger("fastreid").info(message)
