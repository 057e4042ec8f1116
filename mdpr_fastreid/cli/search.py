"""``mdpr search``: the images of a gallery that are most similar to images of a person."""

import argparse
import contextlib
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

from mdpr_fastreid.cli.model_options import add_model_arguments, load_model
from mdpr_fastreid.errors import UsageError, printable

HELP = "search a gallery for the person in an image"
_PRINTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("gallery", metavar="GALLERY", help="gallery.faiss, gallery.npz, a Milvus file or address")
    parser.add_argument("queries", nargs="+", metavar="QUERY", help="image, folder of images, or .npz of `mdpr embed`")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help=".png or .jpg, and a .json beside it; or a .json alone"
    )
    parser.add_argument("--top", type=int, default=10, metavar="K", help="hits of each query")
    parser.add_argument("--rerank", action="store_true", help="re-rank the first thousand by k-reciprocal neighbours")
    parser.add_argument("--camera", action="append", metavar="C", help="only images of this camera; again for more")
    parser.add_argument("--camera-differs", action="store_true", help="only images of other cameras than the query's")
    parser.add_argument(
        "--camera-pattern", default="", metavar="REGEX", help="its group in a query's path is the camera"
    )
    parser.add_argument("--since", type=_time, metavar="T", help="seconds since 1970, or as 2026-11-22T18:30 (UTC)")
    parser.add_argument("--until", type=_time, metavar="T", help="likewise")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    add_model_arguments(parser, "the gallery's own")


def run(args: argparse.Namespace) -> int:
    """Search; 1 if a query could not be read, which is then listed and left out."""
    from mdpr_fastreid.search import open_store, search_reranked
    from mdpr_fastreid.search.hits import Answer, left_out, need_places, write_answers

    if args.top < 1:
        raise UsageError(f"--top {args.top}: give 1 or more")
    if args.output:
        need_places(args.output, args.force)
    with open_store(args.gallery) as store:
        count = store.count()
        if not count:
            raise UsageError(f"{args.gallery} is empty: mdpr index --append adds images")
        queries = _queries(args, store.model)
        condition = _condition(args, queries.cameras)
        find = search_reranked if args.rerank else type(store).search
        found = find(store, queries.vectors, args.top, **condition) if queries.paths else []
        answers = [Answer(*one) for one in zip(queries.paths, queries.cameras, found, strict=True)]
        about = {"gallery": args.gallery, "images": count, "model": store.model.to_dict(), **_settings(args)}
    _print(answers)
    if args.output and answers:
        for path in write_answers(args.output, answers, about):
            shown = "" if path.suffix == ".json" else left_out(answers)
            print(f"wrote {printable(str(path))}" + (f", which shows {shown}; the JSON has all" if shown else ""))
    for line in queries.damaged:
        print(printable(line), file=sys.stderr)
    return 1 if queries.damaged else 0


def _queries(args: argparse.Namespace, model):
    from mdpr_fastreid.search.queries import embed_queries, is_embedded, read_queries

    embedded = [is_embedded(word) for word in args.queries]
    if all(embedded):
        return read_queries(args.queries, model, args.gallery)
    if any(embedded):
        raise UsageError("queries are images and folders, or .npz files of embeddings: give one kind at a time")
    if args.model is None:
        if not model.source or not os.path.exists(model.source):
            of = f"was {printable(model.source)}, which is not here" if model.source else "is not known by its place"
            raise UsageError(f"the model of {args.gallery} {of}: --model names it")
        args.model, args.weights = model.source, args.weights or model.source_weights or None
    reid = load_model(args)
    reid.about.check_same(model, f"those of {args.model}", f"those in {args.gallery}")
    return embed_queries(reid.network, args.queries, args.camera_pattern)


def _condition(args: argparse.Namespace, cameras: list[str]) -> dict:
    without = None
    if args.camera_differs:
        without = [{camera} if camera else set() for camera in cameras]
        if unknown := cameras.count(""):
            print(f"the camera of {unknown} of {len(cameras)} queries is not known: no camera is left out for them")
    return {"cameras": args.camera, "without_cameras": without, "since": args.since, "until": args.until}


def _settings(args: argparse.Namespace) -> dict:
    names = ("top", "rerank", "camera", "camera_differs", "since", "until")
    return {name: getattr(args, name) for name in names}


def _print(answers) -> None:
    from tabulate import tabulate

    for answer in answers[:_PRINTED]:
        print(f"{printable(answer.path)}{f', camera {printable(answer.camera)}' if answer.camera else ''}")
        rows = [
            (rank, f"{hit.score:.3f}", printable(hit.camera), printable(hit.name))
            for rank, hit in enumerate(answer.hits[:_PRINTED], start=1)
        ]
        print(tabulate(rows, ("", "similarity", "camera", "name"), disable_numparse=True) if rows else "no hit")
        if len(answer.hits) > _PRINTED:
            print(f"and {len(answer.hits) - _PRINTED} more hits; -o FILE.json has all")
    if len(answers) > _PRINTED:
        print(f"and {len(answers) - _PRINTED} more queries; -o FILE.json has all")


def _time(text: str) -> float:
    with contextlib.suppress(ValueError):  # a date, then
        return float(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give seconds since 1970, or 2026-11-22T18:30") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
