"""Which images a search may find: by camera and by time."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from mdpr_fastreid.errors import UsageError


@dataclass(frozen=True)
class Condition:
    """What the hits of one query must fulfil; None asks for nothing."""

    cameras: frozenset[str] | None = None
    without: frozenset[str] = frozenset()
    since: float | None = None
    until: float | None = None

    def asks(self) -> bool:
        """Whether it asks for anything at all."""
        return self != Condition()

    def passes(self, codes: np.ndarray, cameras: Sequence[str], times: np.ndarray) -> np.ndarray:
        """Which images fulfil it, ``[N]`` bool.

        Args:
            codes: ``[N]``, the position of each image's camera in ``cameras``.
            cameras: names.
            times: ``[N]``, NaN where it is not known, which fulfils no condition on time.
        """
        wanted = [(self.cameras is None or name in self.cameras) and name not in self.without for name in cameras]
        passing = np.asarray(wanted, dtype=bool)[codes] if len(cameras) else np.zeros(len(codes), dtype=bool)
        if self.since is not None:
            passing &= times >= self.since
        if self.until is not None:
            passing &= times <= self.until
        return passing


@dataclass(frozen=True)
class Conditions:
    """The filter of a search, as :meth:`Store.search` takes it."""

    cameras: Collection[str] | None = None
    without_cameras: Sequence[Collection[str]] | None = None
    since: float | None = None
    until: float | None = None

    def check(self, queries: int) -> None:
        """Refuse a filter that is no filter of so many queries.

        Raises:
            UsageError: it names the argument.
        """
        if isinstance(self.cameras, str):
            raise UsageError(f"cameras must be a list of names, got {self.cameras!r}")
        without = self.without_cameras
        if without is not None and (len(without) != queries or any(isinstance(one, str) for one in without)):
            raise UsageError(f"without_cameras must be a list of names for each of {queries} queries")
        if any(time is not None and np.isnan(time) for time in (self.since, self.until)):
            raise UsageError("since and until must be seconds since 1970, got NaN")

    def groups(self, queries: int) -> dict[Condition, list[int]]:
        """The queries that are searched under the same condition, by it."""
        cameras = None if self.cameras is None else frozenset(self.cameras)
        found: dict[Condition, list[int]] = {}
        for query in range(queries):
            without = frozenset(self.without_cameras[query]) if self.without_cameras is not None else frozenset()
            found.setdefault(Condition(cameras, without, self.since, self.until), []).append(query)
        return found
