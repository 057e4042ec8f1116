"""From the command line to what searches: the store, and the model that its vectors are of."""

import argparse
import contextlib
import os
from collections.abc import Iterator

from mdpr_fastreid.app.finder import Finder
from mdpr_fastreid.reid import ReID
from mdpr_fastreid.search import open_store
from mdpr_fastreid.search.reranking import DEPTH, rerank


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
            yield Finder(store, rerank=rerank, depth=DEPTH)
            return
        model = ReID.load(source, weights, device=args.device, imports=args.imports)
        model.about.check_same(store.model, "uploads", args.gallery)
        print(f"{model}")
        is_exported = str(source).endswith(".onnx")
        look = None if is_exported else lambda pictures: [model.attention(picture) for picture in pictures]
        yield Finder(store, lambda picture: model.embed(picture)[0], look, rerank, DEPTH)
