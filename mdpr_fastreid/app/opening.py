"""From the command line to what searches: the store, and the model that its vectors are of."""

import argparse
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from mdpr_fastreid.app.finder import Finder, Look
from mdpr_fastreid.embedding.loading import load_network
from mdpr_fastreid.evaluation import blended_distances
from mdpr_fastreid.pictures.looking import maps_of
from mdpr_fastreid.reid import ReID
from mdpr_fastreid.search import Hit, Store, open_store


@contextlib.contextmanager
def open_finder(args: argparse.Namespace) -> Iterator[Finder]:
    """The finder of ``mdpr app``'s options.

    Args:
        args: with ``gallery``, ``model``, ``weights``, ``device`` and ``imports``.

    Raises:
        UsageError: the store or the model cannot be read, or they do not belong together.
    """
    with open_store(args.gallery) as store:
        source, weights = args.model, args.weights
        if source is None:
            source, weights = store.model.source, weights or store.model.source_weights or None
        if args.model is None and not (source and os.path.exists(source)):
            print(f"the model of {args.gallery} is not there: no uploads, no attention; --model names it")
            yield Finder(store, rerank=_reranked)
            return
        model = ReID.load(source, weights, device=args.device, imports=args.imports)
        model.about.check_same(store.model, "uploads", args.gallery)
        print(f"{model}")
        look = None if str(source).endswith(".onnx") else _looking(source, weights, args)
        yield Finder(store, lambda picture: model.embed(picture)[0], look, _reranked)


def _reranked(store: Store, vector: np.ndarray, hits: Sequence[Hit]) -> list[Hit]:
    """Hits by their k-reciprocal neighbours among each other."""
    gallery = torch.from_numpy(store.vectors([hit.name for hit in hits]))
    distances = blended_distances(torch.as_tensor(vector)[None], gallery, "cosine")[0]
    return [hits[row] for row in distances.argsort(stable=True).tolist()]


def _looking(source: str, weights: str | None, args: argparse.Namespace) -> Look:
    """What looks, by the network as it was trained: folding takes attention away."""
    network = load_network(source, weights, device=args.device, folded=False, imports=args.imports)

    def look(pictures: Sequence[Image.Image]) -> list[Mapping[str, np.ndarray]]:
        return maps_of(network, pictures)

    return look
