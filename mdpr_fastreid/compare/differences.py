"""Differences of mAP from the first method, query by query, as the runs' rankings have them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdpr_fastreid.compare.bootstrap import DRAWS, LEVEL, Interval, bootstrap_difference
from mdpr_fastreid.compare.provenance import without_home
from mdpr_fastreid.compare.records import RANKING, RESULT, read_ranking
from mdpr_fastreid.compare.summary import Summary


@dataclass(frozen=True)
class Difference:
    """Of one method's mAP from the first one's, in one pairing."""

    name: str
    title: str
    """Of the method."""
    pairing: str
    """Empty for models without pairings."""
    pooled: Interval
    """Of the mean over the seeds that both have."""
    seeds: Mapping[int, Interval]
    """Of each seed that both have."""
    identities: int
    """Of the queries."""
    queries: int
    """That have a positive."""

    @property
    def clear(self) -> bool:
        """Whether two seeds or more agree in sign, all of them, and the pooled interval excludes 0."""
        signs = {np.sign(one.mean) for one in self.seeds.values()}
        return len(self.seeds) > 1 and len(signs) == 1 and (self.pooled.low > 0 or self.pooled.high < 0)


@dataclass(frozen=True)
class Differences:
    """Of every other method from the first one."""

    reference: str = ""
    """The first method's title."""
    rows: tuple[Difference, ...] = ()
    left_out: tuple[str, ...] = ()
    """Which runs could not be compared, and why, a line each."""

    @property
    def has_pairings(self) -> bool:
        """Whether any row is of a pairing with a name."""
        return any(row.pairing for row in self.rows)

    def as_json(self) -> dict:
        """All of it, in points of mAP."""
        return {
            "reference": self.reference,
            "draws": DRAWS,
            "level": LEVEL,
            "left_out": list(self.left_out),
            "rows": [
                {
                    "method": row.name,
                    "pairing": row.pairing,
                    **_rounded(row.pooled),
                    "clear": row.clear,
                    "identities": row.identities,
                    "queries": row.queries,
                    "seeds": {seed: _rounded(one) for seed, one in row.seeds.items()},
                }
                for row in self.rows
            ],
        }


def _rounded(interval: Interval) -> dict[str, float]:
    return {name: round(value, 4) for name, value in interval._asdict().items()}


class _Precisions:
    """Average precision of every query of a run, by pairing.

    Args:
        arrays: of its ranking, as :func:`mdpr_fastreid.compare.records.read_ranking` gives them.

    Raises:
        KeyError, ValueError: those of the pairings do not fit.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.queries = arrays["query"]
        self.identities = arrays["identities"][np.searchsorted(arrays["used"], self.queries)]
        self.first = arrays["average_precision"]
        self.of_pairings: dict[str, np.ndarray] = {}
        if "pairings" in arrays:  # a run of an earlier version has its first pairing, without the name
            self.of_pairings = dict(zip(arrays["pairings"].tolist(), arrays["pairing_precision"], strict=True))
        if any(one.shape != self.queries.shape for one in (self.first, *self.of_pairings.values())):
            raise ValueError("not an average precision for every query")

    def same_queries(self, other: "_Precisions") -> bool:
        """Whether the other run ranked for the same queries."""
        return np.array_equal(self.queries, other.queries) and np.array_equal(self.identities, other.identities)

    def shared(self, other: "_Precisions") -> list[str]:
        """Pairings of both; where one of them has no names, the first one."""
        if self.of_pairings and other.of_pairings:
            return [name for name in self.of_pairings if name in other.of_pairings]
        return [next(iter(self.of_pairings or other.of_pairings), "")]

    def of(self, pairing: str) -> np.ndarray:
        """``[V]``, 0 to 1."""
        return self.of_pairings.get(pairing, self.first)


_Runs = Mapping[int, _Precisions]
"""Of a method, by seed."""


def find_differences(summaries: Sequence[Summary]) -> Differences:
    """Compare every other method with the first, query by query.

    Args:
        summaries: of the methods, in the order in which they were asked for.
    """
    if len(summaries) < 2:
        return Differences()
    left_out: list[str] = []
    reference, *others = [_read(summary, left_out) for summary in summaries]
    rows: list[Difference] = []
    first = summaries[0].method.title
    for summary, runs in zip(summaries[1:], others, strict=True):
        compared = _same_queries(summary, runs, reference, left_out)
        found = list(_rows_of(summary, compared, reference))
        rows += found
        if compared and not found:
            left_out.append(f"{summary.method.title} has no pairing in common with {first}, so it is in no difference")
    return Differences(first, tuple(rows), tuple(left_out))


def _read(summary: Summary, left_out: list[str]) -> dict[int, _Precisions]:
    found = {}
    for seed in summary.results:
        folder = summary.folders[seed]
        precisions = _precisions(folder)
        if precisions is not None:
            found[seed] = precisions
        else:
            left_out.append(
                f"{summary.method.title}, seed {seed}: {RANKING} is gone or damaged, so it is in no difference; delete "
                f"{without_home(str(folder / RESULT))}, and the same command measures this run anew"
            )
    return found


def _precisions(folder: Path) -> _Precisions | None:
    arrays = read_ranking(folder)
    with contextlib.suppress(KeyError, ValueError):
        return arrays and _Precisions(arrays)
    return None


def _same_queries(summary: Summary, runs: _Runs, reference: _Runs, left_out: list[str]) -> _Runs:
    """The runs of seeds that both have, less those for other queries."""
    first = next(iter(reference.values()), None)
    kept = {}
    for seed, run in runs.items():
        if seed in reference and run.same_queries(first) and reference[seed].same_queries(first):
            kept[seed] = run
        elif seed in reference:
            why = "it ranked for other queries, so it is in no difference"
            left_out.append(f"{summary.method.title}, seed {seed}: {why}")
    return kept


def _rows_of(summary: Summary, runs: _Runs, reference: _Runs) -> Iterator[Difference]:
    by_pairing: dict[str, dict[int, np.ndarray]] = {}
    for seed, run in runs.items():
        for pairing in run.shared(reference[seed]):
            by_pairing.setdefault(pairing, {})[seed] = run.of(pairing) - reference[seed].of(pairing)
    named = [pairing for pairing in by_pairing if pairing]
    if named and "" in by_pairing:  # of seeds that an earlier version ran: the first pairing, without its name
        by_pairing[named[0]] |= by_pairing.pop("")
    for pairing, of_seeds in by_pairing.items():
        identities = next(iter(runs.values())).identities
        yield Difference(
            name=summary.method.name,
            title=summary.method.title,
            pairing=pairing,
            pooled=bootstrap_difference(np.mean(list(of_seeds.values()), axis=0), identities),
            seeds={seed: bootstrap_difference(of_seeds[seed], identities) for seed in sorted(of_seeds)},
            identities=len(np.unique(identities)),
            queries=len(identities),
        )
