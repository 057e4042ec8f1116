"""What the page asks: the hits of a query, some images to begin with, and where the model looks in them."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.search import Hit, Store

Embed = Callable[[Image.Image], np.ndarray]
"""From a picture to its embedding ``[D]``."""
Look = Callable[[Sequence[Image.Image]], Sequence[Mapping[str, np.ndarray]]]
"""From pictures to where the model looks in each: ``[h, w]`` by the maps' names."""
Rerank = Callable[[Store, np.ndarray, Sequence[Hit]], list[Hit]]
"""From the store, a query ``[D]`` and its hits to the same hits in a better order."""


class Query(NamedTuple):
    """Somebody to look for."""

    vector: np.ndarray
    """``[D]``."""
    name: str
    """In the gallery; "" for an uploaded image."""
    path: str
    camera: str
    picture: Image.Image | None
    """Of an uploaded image."""


class Finder:
    """Searches a store, one request at a time.

    Args:
        store: of the gallery.
        embed: what embeds an uploaded image; None to search with the gallery's own images only.
        look: where the model looks; None if it has nothing to look at.
        rerank: what re-ranking does; None if it is not offered.
        depth: hits that are re-ranked.
    """

    def __init__(
        self,
        store: Store,
        embed: Embed | None = None,
        look: Look | None = None,
        rerank: Rerank | None = None,
        depth: int = 1000,
    ) -> None:
        self.store, self._embed, self._look, self._rerank, self._depth = store, embed, look, rerank, depth
        self._alone = threading.Lock()
        self.cameras = store.cameras()

    @property
    def can_embed(self) -> bool:
        """Whether images can be uploaded."""
        return self._embed is not None

    @property
    def can_rerank(self) -> bool:
        """Whether re-ranking is offered."""
        return self._rerank is not None

    def uploaded(self, picture: Image.Image) -> Query:
        """A query by a picture.

        Raises:
            UsageError: there is no model.
        """
        if self._embed is None:
            raise UsageError("without a model only images of the gallery can be looked for: start with --model")
        with self._alone:
            return Query(self._embed(picture), "", "", "", picture)

    def named(self, hit: Hit) -> Query:
        """A query by an image of the gallery.

        Raises:
            UsageError: the store does not have it any more.
        """
        with self._alone:
            return Query(self.store.vectors([hit.name])[0], hit.name, hit.path, hit.camera, None)

    def some(self, count: int, seed: int) -> list[Hit]:
        """Images of the gallery to begin with: of each of ``count`` random directions the nearest one that is new."""
        directions = np.random.default_rng(seed).normal(size=(count, self.store.model.dim)).astype(np.float32)
        with self._alone:
            lists = self.store.search(directions, count)
        found: dict[str, Hit] = {}
        for hits in lists:
            new = next((hit for hit in hits if hit.name not in found), None)
            if new is not None:
                found[new.name] = new
        return list(found.values())

    def find(
        self, query: Query, count: int, cameras: Collection[str] = (), other_cameras: bool = False, rerank: bool = False
    ) -> list[Hit]:
        """The hits of a query, without the query itself.

        Args:
            query: of :meth:`uploaded` or :meth:`named`.
            count: at most.
            cameras: only images of these; empty for all.
            other_cameras: only images of other cameras than the query's, where that is known.
            rerank: whether they are re-ranked.
        """
        depth = max(count, self._depth) if rerank and self._rerank is not None else count
        without = [{query.camera}] if other_cameras and query.name and query.camera else None
        with self._alone:
            (hits,) = self.store.search(
                query.vector[None], depth + bool(query.name), cameras=set(cameras) or None, without_cameras=without
            )
            hits = [hit for hit in hits if hit.name != query.name or not query.name]
            if rerank and self._rerank is not None and hits:
                hits = self._rerank(self.store, query.vector, hits)
        return hits[:count]

    def maps(self, pictures: Sequence[Image.Image]) -> Sequence[Mapping[str, np.ndarray]]:
        """Where the model looks in pictures.

        Raises:
            UsageError: there is no model, or it has no maps.
        """
        if self._look is None:
            raise UsageError("without a model there is no attention: start with --model")
        with self._alone:
            return self._look(pictures)

    def looks(self) -> list[str]:
        """The names of the maps; none for a model without maps."""
        try:
            return list(self.maps([Image.new("RGB", (64, 128))])[0])
        except UsageError:
            return []
