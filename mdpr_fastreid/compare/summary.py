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
from mdpr_fastreid.compare.methods import Method
from mdpr_fastreid.compare.plan import Cost, Plan
from mdpr_fastreid.compare.provenance import without_home
from mdpr_fastreid.compare.shared import flat
from mdpr_fastreid.io import write_whole

ACCURACY = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP")
"""In percent; what :func:`mdpr_fastreid.compare.evaluate.accuracy` measures."""
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
    """``result.json`` by seed, of the finished runs."""
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
        """Of a number of :data:`ACCURACY`, :data:`SPEED` or the model's own; None if no run has it."""
        values = [self.value(seed, name, reranked) for seed in self.results]
        return spread([value for value in values if value is not None])

    def value(self, seed: int, name: str, reranked: bool = False) -> float | None:
        """Of a number of :data:`ACCURACY`, :data:`SPEED` or the model's own, for one finished run."""
        result = self.results[seed]
        if name in ACCURACY:
            return result["reranked" if reranked else "metrics"][name]
        return result[name] if name in SPEED else _own(result).get(name)


def own_metrics(summaries: Sequence[Summary]) -> list[str]:
    """Names of the numbers that models report of themselves, in the order in which the methods have them."""
    return list(dict.fromkeys(name for one in summaries for result in one.results.values() for name in _own(result)))


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
                results[run.seed] = result
            elif failure:
                failures[run.seed] = without_home(failure.get("error", f"{records.FAILURE} is damaged"))
        folders = {run.seed: plan.folder(run) for run in runs}
        settings = folders[runs[0].seed] / records.SETTINGS
        summaries.append(Summary(method, results, failures, outdated, folders, settings, plan.costs[method.name]))
    return summaries


def write_results(plan: Plan, summaries: Sequence[Summary], environment: Mapping[str, object]) -> None:
    """Write ``results.json``, with everything, and ``results.csv``, with a line a run, into the comparison's folder.

    Args:
        plan: what was asked for.
        summaries: what came of it.
        environment: of this process; each run's own is in its result.
    """
    content = {
        "command": plan.command,
        "environment": dict(environment),
        "data": vars(plan.data),
        "seeds": plan.seeds,
        "shared": {key: value for key, value in flat(plan.shared).items() if not key.startswith(("MODEL.", "KD."))},
        "left_out": dict(plan.left_out),
        "methods": [_as_json(summary, plan) for summary in summaries],
    }
    records.write_json(plan.output / "results.json", json.loads(json.dumps(content, default=str)))
    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    reranked, own = [f"reranked {name}" for name in ACCURACY], own_metrics(summaries)
    writer.writerow(["method", "seed", *ACCURACY, *reranked, *SPEED, *own, "config_hash", "error"])
    for summary in summaries:
        for seed in summary.folders:
            writer.writerow(_row(summary, seed, own))
    write_whole(plan.output / "results.csv", rows.getvalue().encode())


def _as_json(summary: Summary, plan: Plan) -> dict:
    spreads = {name: summary.spread(name) for name in (*ACCURACY, *SPEED, *own_metrics([summary]))}
    spreads |= {f"reranked {name}": summary.spread(name, reranked=True) for name in ACCURACY}
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


def _row(summary: Summary, seed: int, own: Sequence[str]) -> list:
    if seed not in summary.results:
        nothing = [""] * (2 * len(ACCURACY) + len(SPEED) + len(own) + 1)
        outdated = {seed: f"run under other conditions ({why})" for seed, why in summary.outdated.items()}
        return [summary.method.name, seed, *nothing, {**outdated, **summary.failures}.get(seed, "not finished yet")]
    accuracy = [summary.value(seed, name, reranked) for reranked in (False, True) for name in ACCURACY]
    others = [summary.value(seed, name) for name in (*SPEED, *own)]
    return [summary.method.name, seed, *map(_rounded, [*accuracy, *others]), summary.results[seed]["config_hash"], ""]


def _rounded(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) or not math.isfinite(value) else round(value, 4)
