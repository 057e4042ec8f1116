"""Which queries to look at, and what each method ranked for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdpr_fastreid.compare.records import read_ranking
from mdpr_fastreid.compare.summary import Summary

MOST_METHODS = 6
"""Methods whose rank lists fit under each other on a page."""
HARDEST, EASIEST = 3, 2


class Ranking:
    """What a run ranked: its ``ranking.npz``.

    Args:
        arrays: of the file, by name.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays
        self.queries: np.ndarray = self._arrays["query"]
        """``[V]`` index in the test set of every query that has a positive."""
        self.average_precision: np.ndarray = self._arrays["average_precision"]
        """``[V]``, 0 to 1."""
        self.attention: np.ndarray | None = self._arrays.get("attention")
        """``[Q, 2 M, h, w]`` uint8, or None."""

    def listed(self, row: int) -> list["Listed"]:
        """The gallery images nearest to the query in row ``row`` of :attr:`queries`, nearest first."""
        gallery, distances, correct = (self._arrays[name][row] for name in ("gallery", "distance", "correct"))
        captions = self._arrays["caption"][row] if "caption" in self._arrays else [""] * len(gallery)
        return [
            Listed(self.image(index), float(distance), bool(same), str(caption))
            for index, distance, same, caption in zip(gallery, distances, correct, captions, strict=True)
            if index >= 0
        ]

    def image(self, index: int) -> "Image":
        """A test image that is listed, or a query, by its index in the test set."""
        at = int(np.searchsorted(self._arrays["used"], index))
        return Image(
            Path(str(self._arrays["paths"][at])), int(self._arrays["identities"][at]), int(self._arrays["cameras"][at])
        )


@dataclass(frozen=True)
class Image:
    """A test image."""

    path: Path
    identity: int
    camera: int


@dataclass(frozen=True)
class Listed:
    """A gallery image in a rank list."""

    image: Image
    distance: float
    correct: bool
    caption: str = ""
    """What the model compared; empty for a model that does not say."""


def load_rankings(summaries: Sequence[Summary]) -> tuple[int | None, dict[str, Ranking]]:
    """Rankings of one seed, the first that most methods have finished, by the methods' names.

    The tables do not need them: one that is gone or damaged is left out, and so is one of other queries than the first.
    """
    summaries = summaries[:MOST_METHODS]
    seeds = list(dict.fromkeys(seed for one in summaries for seed in one.folders))
    finished = {seed: [one for one in summaries if seed in one.results] for seed in seeds}
    seed = max(seeds, key=lambda seed: len(finished[seed]), default=None)
    if seed is None:
        return None, {}
    found = {one.method.name: read_ranking(one.folders[seed]) for one in finished[seed]}
    rankings = {name: Ranking(arrays) for name, arrays in found.items() if arrays is not None}
    first = next(iter(rankings.values()), None)
    return seed, {name: one for name, one in rankings.items() if np.array_equal(one.queries, first.queries)}


def choose_queries(average_precision: Mapping[str, np.ndarray], titles: Mapping[str, str]) -> list[tuple[str, int]]:
    """Rows of queries worth looking at, each with what it is an example of.

    The hardest and the easiest by the mean of the methods, and for each method the one where it falls behind the
    others' mean the most.

    Args:
        average_precision: ``[V]`` by the methods' names, of the same queries in the same order.
        titles: of the methods, by name.
    """
    values = np.stack(list(average_precision.values()))
    mean = values.mean(axis=0)
    order = np.argsort(mean, kind="stable")
    chosen = [("hardest on average", int(row)) for row in order[:HARDEST]]
    taken = {row for _, row in chosen}
    for position, name in enumerate(average_precision):
        if len(values) < 2:
            break
        behind = np.delete(values, position, axis=0).mean(axis=0) - values[position]
        behind[list(taken)] = -np.inf
        row = int(behind.argmax())
        if behind[row] > 0:
            chosen.append((f"hardest for {titles[name]}, beside the others", row))
            taken.add(row)
    easiest = [int(row) for row in order[::-1] if int(row) not in taken][:EASIEST]
    return chosen + [("easiest on average", row) for row in easiest]
