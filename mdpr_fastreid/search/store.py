"""What every store of embeddings can do: add, delete, search with a filter, count."""

import abc
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from mdpr_fastreid.embedding import Embeddings, ModelId
from mdpr_fastreid.errors import UsageError, printable
from mdpr_fastreid.search.conditions import Condition, Conditions

_SHORTEST = 1e-12
_ROWS_AT_ONCE = 4096


class Hit(NamedTuple):
    """A gallery image that a search found."""

    name: str
    """Path within the folder that was embedded; unique in a store."""
    score: float
    """Cosine similarity with the query, -1 to 1."""
    camera: str
    """Empty where it is not known."""
    time: float
    """Seconds since 1970; NaN where it is not known."""
    identity: str
    """Empty where it is not known."""
    path: str
    """Of the image file."""
    reranked: float | None = None
    """The distance that re-ranking ordered by; None in a list that was not re-ranked."""


class Store(abc.ABC):
    """Embeddings of one model, by the names of their images, to be searched by cosine similarity.

    A store is a context manager that closes it. What is added is found by the next search, of every process.
    """

    model: ModelId
    """The model of every vector in it."""

    @abc.abstractmethod
    def add(self, embeddings: Embeddings) -> int:
        """Add images; one whose name is there already replaces it.

        On disk all of them are added, or, where it fails or is killed, none; see also :class:`MilvusStore`.

        Returns:
            How many images were replaced.

        Raises:
            UsageError: they are of another model, have no finite direction or the same name twice, or cannot be
                written.
        """

    @abc.abstractmethod
    def delete(self, names: Collection[str]) -> int:
        """Delete images by name.

        Returns:
            How many there were; names that the store does not have are no error.
        """

    def search(
        self,
        vectors: np.ndarray,
        top: int,
        *,
        cameras: Collection[str] | None = None,
        without_cameras: Sequence[Collection[str]] | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[list[Hit]]:
        """The images that are most similar to each query.

        A filter is exact: no hit is outside of it, and where it leaves few images, the nearest of these are found.
        An image whose time is not known passes no filter on time; a camera that is not known is the camera "".

        Args:
            vectors: ``[Q, D]``, of any length.
            top: hits for a query; fewer where the filter leaves fewer.
            cameras: only images of these.
            without_cameras: for each query, cameras whose images are left out.
            since: only images of this time (seconds since 1970) or later.
            until: only images of this time or earlier.

        Returns:
            For each query its hits, the most similar first.

        Raises:
            UsageError: vectors of another width, or not finite; ``top`` below 1; the store is damaged or does not
                answer.
        """
        conditions = Conditions(cameras, without_cameras, since, until)
        queries = checked_query(vectors, top, self.model.dim, conditions)
        found: list[list[Hit]] = [[] for _ in queries]
        for condition, members in conditions.groups(len(queries)).items():
            for query, hits in zip(members, self._search(queries[members], top, condition), strict=True):
                found[query] = hits
        return found

    @abc.abstractmethod
    def _search(self, queries: np.ndarray, top: int, condition: Condition) -> list[list[Hit]]:
        """The hits of each query, most similar first.

        Args:
            queries: ``[Q, D]`` of unit length, one at least.
            top: 1 or more.
            condition: the same for all.
        """

    @abc.abstractmethod
    def has(self, names: Sequence[str]) -> np.ndarray:
        """Which of these images are in it: bool ``[n]``."""

    @abc.abstractmethod
    def vectors(self, names: Sequence[str]) -> np.ndarray:
        """The vectors of images, scaled to unit length, ``[n, D]`` float32.

        Raises:
            UsageError: a name is not in the store.
        """

    @abc.abstractmethod
    def count(self) -> int:
        """How many images are in it."""

    @abc.abstractmethod
    def cameras(self) -> list[str]:
        """The cameras of its images, sorted; "" among them if one is not known."""

    @abc.abstractmethod
    def close(self) -> None:
        """Free what it holds; it cannot be used after that."""

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unit_vectors(vectors: np.ndarray, names: Sequence[str], dim: int) -> np.ndarray:
    """Vectors scaled to unit length, ``[N, D]`` float32.

    Args:
        vectors: ``[N, D]``.
        names: of the images that they are of, for the error.
        dim: the width that they must have.

    Raises:
        UsageError: another width, or a vector that is not finite or has no direction.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise UsageError(f"vectors must be [N, {dim}] here, these are {list(vectors.shape)}: embed with the same model")
    scaled = np.empty_like(vectors)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        block = vectors[start : start + _ROWS_AT_ONCE].astype(np.float64)
        lengths = np.linalg.norm(block, axis=1)
        bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > _SHORTEST)))
        if len(bad):
            what = "is zero" if lengths[bad[0]] <= _SHORTEST else "has NaN or infinite numbers"
            name = printable(str(names[start + bad[0]]))
            raise UsageError(f"the vector of {name} {what}: embed it again, or leave it out")
        scaled[start : start + _ROWS_AT_ONCE] = block / lengths[:, None]
    return scaled


def need_cosine(model: ModelId) -> None:
    """Refuse a model whose embeddings are compared otherwise than stores compare.

    Raises:
        UsageError: it says what they are compared by.
    """
    if model.distance != "cosine":
        raise UsageError(
            f"embeddings of this model are compared by {printable(model.distance)} distance, and a store compares by "
            "cosine similarity: embed with TEST.METRIC cosine"
        )


def need_unique(names: Sequence[str]) -> None:
    """Refuse embeddings that have a name twice.

    Raises:
        UsageError: it gives the name.
    """
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise UsageError(f"{printable(twice)} is there twice: every image needs a name of its own")


def checked_query(vectors: np.ndarray, top: int, dim: int, conditions: Conditions) -> np.ndarray:
    """The queries of a search as unit vectors ``[Q, D]``.

    Raises:
        UsageError: what is asked for cannot be searched.
    """
    if top < 1:
        raise UsageError(f"top {top}: ask for 1 hit or more")
    vectors = np.asarray(vectors)
    queries = unit_vectors(vectors, [f"query {number}" for number in range(len(vectors))], dim)
    conditions.check(len(queries))
    return queries
