"""What the runs reached, over seeds: mean, deviation, what is best, and the files with all of it."""

import csv
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mdpr_fastreid.compare import records
from mdpr_fastreid.compare.curves import training_accuracy
from mdpr_fastreid.compare.methods import Method
from mdpr_fastreid.compare.plan import Cost, Plan
from mdpr_fastreid.compare.provenance import without_home
from mdpr_fastreid.compare.shared import flat
from mdpr_fastreid.io import write_whole

ACCURACY = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP")
"""In percent; what :func:`mdpr_fastreid.compare.evaluate.accuracy` measures."""
TRAPEZOID = "mAP trapezoid"
"""Beside ``mAP`` of runs with ``TEST.AP both``."""
OF_PAIRINGS = ("mAP", TRAPEZOID, "Rank-1", "mINP")
"""What is reported of every pairing of a model."""
TRAINING_ACCURACY = "training accuracy"
"""What :func:`mdpr_fastreid.compare.curves.training_accuracy` gives: whether a training was at its end."""
SPEED = ("training_images_per_second", "inference_images_per_second", "feature_length")
"""What else is measured of each run."""


@dataclass(frozen=True)
class Spread:
    """A number over seeds."""

    mean: float
    deviation: float | None
    """Sample standard deviation (divided by n - 1); None for a single seed."""
    count: int


@dataclass(frozen=True)
class Summary:
    """A method with what its runs reached."""

    method: Method
    results: Mapping[int, dict]
    """``result.json`` by seed, of the finished runs, with :data:`TRAINING_ACCURACY`."""
    failures: Mapping[int, str]
    """Why a run failed, by seed."""
    outdated: Mapping[int, str]
    """In what a run was made under other conditions than those that are asked for, by seed; it is not reported."""
    folders: Mapping[int, Path]
    """Of every run, by seed."""
    settings: Path
    """The config of its first run; training with it repeats that run."""
    cost: Cost

    def spread(self, name: str, reranked: bool = False) -> Spread | None:
        """Of a number that :meth:`value` knows; None if no run has it."""
        values = [self.value(seed, name, reranked) for seed in self.results]
        return spread([value for value in values if value is not None])

    def value(self, seed: int, name: str, reranked: bool = False) -> float | None:
        """A number of one finished run; None if it has no such.

        Args:
            seed: of the run.
            name: of :data:`ACCURACY` or :data:`SPEED`, :data:`TRAPEZOID`, :data:`TRAINING_ACCURACY`, the model's own,
                or that of a pairing: ``V2V/mAP``.
            reranked: whether it is of the re-ranked ones.
        """
        result = self.results[seed]
        if name in (*ACCURACY, TRAPEZOID):
            return result["reranked" if reranked else "metrics"].get(name)
        if name in (*SPEED, TRAINING_ACCURACY):
            return result.get(name)
        return (_own(result) | _of_pairings(result)).get(name)


def own_metrics(summaries: Sequence[Summary]) -> list[str]:
    """Names of the numbers that models report of themselves, in the order in which the methods have them."""
    return list(dict.fromkeys(name for one in summaries for result in one.results.values() for name in _own(result)))


def further_names(summaries: Sequence[Summary]) -> list[str]:
    """What stands beside the accuracy: :data:`TRAINING_ACCURACY` if runs have it, and :func:`own_metrics`."""
    logged = any(one.spread(TRAINING_ACCURACY) for one in summaries)
    return [*([TRAINING_ACCURACY] if logged else []), *own_metrics(summaries)]


def accuracy_names(summaries: Sequence[Summary]) -> tuple[str, ...]:
    """:data:`ACCURACY`, with :data:`TRAPEZOID` if runs have it."""
    if not any(TRAPEZOID in result["metrics"] for one in summaries for result in one.results.values()):
        return ACCURACY
    return (ACCURACY[0], TRAPEZOID, *ACCURACY[1:])


def pairing_names(summaries: Sequence[Summary]) -> list[str]:
    """Numbers of :data:`OF_PAIRINGS` of all pairings, ``I2V/mAP`` and so on, in the order of the methods' pairings."""
    results = [result for one in summaries for result in one.results.values()]
    found = dict.fromkeys(name for result in results for name in _of_pairings(result))
    pairings = dict.fromkeys(name for result in results for name in result.get("pairings", {}))
    return [name for pairing in pairings for name in (f"{pairing}/{each}" for each in OF_PAIRINGS) if name in found]


def _of_pairings(result: Mapping) -> dict[str, float]:
    pairings = result.get("pairings", {})
    return {f"{name}/{each}": of[each] for name, of in pairings.items() for each in OF_PAIRINGS if each in of}


def _own(result: Mapping) -> Mapping[str, float]:
    return result.get("own_metrics", {})


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation of numbers; None of none."""
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, len(values))


def clear_best(spreads: Mapping[str, Spread | None]) -> str | None:
    """The name whose mean is above every other's by more than a standard deviation, its own and the other's.

    Args:
        spreads: of one number, by method; more is better.

    Returns:
        The name, or None: with one seed, or with one method, nothing stands out.
    """
    known = {name: value for name, value in spreads.items() if value is not None}
    if len(known) < 2 or any(value.deviation is None for value in known.values()):
        return None
    best = max(known, key=lambda name: known[name].mean)
    top = known[best]
    for name, other in known.items():
        lead = top.mean - other.mean
        # Means of equal numbers differ in their last digits
        if name != best and lead <= max(top.deviation, other.deviation) + 1e-9:
            return None
    return best


def summarize(plan: Plan) -> list[Summary]:
    """Read what the runs have left in their folders, method by method."""
    summaries = []
    for method in plan.methods:
        runs = [run for run in plan.runs if run.method == method]
        results, failures, outdated = {}, {}, {}
        for run in runs:
            folder = plan.folder(run)
            different = records.changed(folder, records.conditions(run.cfg, plan.data.digest))
            if different:
                outdated[run.seed] = records.listing(different)
                continue
            result = records.read_result(folder)
            failure = records.read_json(folder / records.FAILURE)
            if result:
                results[run.seed] = result | {TRAINING_ACCURACY: training_accuracy(folder)}
            elif failure:
                failures[run.seed] = without_home(failure.get("error", f"{records.FAILURE} is damaged"))
        folders = {run.seed: plan.folder(run) for run in runs}
        settings = folders[runs[0].seed] / records.SETTINGS
        summaries.append(Summary(method, results, failures, outdated, folders, settings, plan.costs[method.name]))
    return summaries


def write_results(
    plan: Plan,
    summaries: Sequence[Summary],
    environment: Mapping[str, object],
    differences: Mapping[str, object] | None = None,
) -> None:
    """Write ``results.json``, with everything, and ``results.csv``, with a line a run, into the comparison's folder.

    Args:
        plan: what was asked for.
        summaries: what came of it.
        environment: of this process; each run's own is in its result.
        differences: of mAP from the first method, as :meth:`mdpr_fastreid.compare.differences.Differences.as_json`.
    """
    content = {
        "command": plan.command,
        "environment": dict(environment),
        "data": vars(plan.data),
        "seeds": plan.seeds,
        "shared": {
            key: value
            for key, value in flat(plan.shared).items()
            if not key.startswith(("MODEL.", "KD.")) and key not in plan.grid
        },
        "left_out": dict(plan.left_out),
        "methods": [_as_json(summary, plan) for summary in summaries],
        "differences": dict(differences or {}),
    }
    records.write_json(plan.output / "results.json", json.loads(json.dumps(content, default=str)))
    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    accuracy, others = accuracy_names(summaries), [*SPEED, *further_names(summaries), *pairing_names(summaries)]
    reranked = [f"reranked {name}" for name in accuracy]
    writer.writerow(["method", "seed", *accuracy, *reranked, *others, "config_hash", "error"])
    for summary in summaries:
        for seed in summary.folders:
            writer.writerow(_row(summary, seed, accuracy, others))
    write_whole(plan.output / "results.csv", rows.getvalue().encode())


def _as_json(summary: Summary, plan: Plan) -> dict:
    accuracy, others = accuracy_names([summary]), (*SPEED, *further_names([summary]), *pairing_names([summary]))
    spreads = {name: summary.spread(name) for name in (*accuracy, *others)}
    spreads |= {f"reranked {name}": summary.spread(name, reranked=True) for name in accuracy}
    return {
        "name": summary.method.name,
        "title": summary.method.title,
        "config": summary.method.config,
        "overrides": list(summary.method.overrides),
        **summary.cost._asdict(),
        "notes": list(plan.notes.get(summary.method.name, ())),
        "mean": {name: _rounded(value.mean) for name, value in spreads.items() if value},
        "standard_deviation": {name: _rounded(value.deviation) for name, value in spreads.items() if value},
        "runs": [{"seed": seed, **result} for seed, result in summary.results.items()],
        "failures": [{"seed": seed, "error": error} for seed, error in summary.failures.items()],
        "outdated": [{"seed": seed, "changed": changed} for seed, changed in summary.outdated.items()],
    }


def _row(summary: Summary, seed: int, accuracy: Sequence[str], others: Sequence[str]) -> list:
    if seed not in summary.results:
        nothing = [""] * (2 * len(accuracy) + len(others) + 1)
        outdated = {seed: f"run under other conditions ({why})" for seed, why in summary.outdated.items()}
        return [summary.method.name, seed, *nothing, {**outdated, **summary.failures}.get(seed, "not finished yet")]
    values = [summary.value(seed, name, reranked) for reranked in (False, True) for name in accuracy]
    values += [summary.value(seed, name) for name in others]
    return [summary.method.name, seed, *map(_rounded, values), summary.results[seed]["config_hash"], ""]


def _rounded(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) or not math.isfinite(value) else round(value, 4)
