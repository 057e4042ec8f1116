"""``mdpr embed``: the embeddings of a folder of images, as a file or in a store."""

import argparse
import os
import sys
from pathlib import Path

from mdpr_fastreid.cli.model_options import add_model_arguments, load_model
from mdpr_fastreid.errors import UsageError, printable

HELP = "embed a folder of images with a trained model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("folder", metavar="DIR", help="of images, in folders or not, or with a manifest.csv")
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="file to write (.npz), or a store as `mdpr index` makes it"
    )
    add_model_arguments(parser)
    parser.add_argument("--append", action="store_true", help="add to OUT the images whose names it does not have yet")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--batch", type=int, metavar="N", help="images at a time (default: TEST.IMS_PER_BATCH)")
    parser.add_argument("--workers", type=int, metavar="N", help="threads that read (default: one a core, at most 4)")
    parser.add_argument(
        "--camera-pattern", default="", metavar="REGEX", help="its group in a path is the camera, such as 'cam(\\d+)'"
    )
    parser.add_argument("--time-pattern", default="", metavar="REGEX", help="its group in a path is the time")
    parser.add_argument(
        "--time-format", default="", metavar="F", help="how it is written, as %%Y%%m%%d_%%H%%M%%S (default: seconds)"
    )


def run(args: argparse.Namespace) -> int:
    """Embed; 1 if an image could not be read, which is then listed and left out."""
    from mdpr_fastreid.embedding.batches import default_workers
    from mdpr_fastreid.embedding.chunks import Chunks, Share
    from mdpr_fastreid.embedding.facts import find_images
    from mdpr_fastreid.embedding.folder import embed_images, found_in, only_one
    from mdpr_fastreid.embedding.outputs import output_at, place_of_chunks

    _check(args)
    share = Share.of_environment()
    images = find_images(args.folder, args.camera_pattern, args.time_pattern, args.time_format)
    with only_one(place_of_chunks(args.output), share) as partial:
        output = output_at(args.output, args.append, args.force)
        model = load_model(args, _device_of(share))
        if output.model is not None:
            output.model.check_same(model.about, f"those in {args.output}", f"those of {args.model}")
            images = images.seen_from(output.root or images.root)
            images = images.rows(~output.has(images.names))
        elif args.append and share.rank == 0:
            print(f"{printable(args.output)} is not there yet: it is made", flush=True)
        if share.rank == 0:
            print(f"{printable(args.folder)}: {images.described()}{' that are new' if args.append else ''}", flush=True)
        if not len(images):
            return 0
        batch = model.network.batch_size if args.batch is None else args.batch
        chunks = Chunks(partial, images, model.about, batch)
        chunks.start(share)
        if share.rank == 0 and (done := chunks.images_done()):
            print(f"going on: {done} of {len(images)} images were embedded before", flush=True)
        workers = default_workers() if args.workers is None else args.workers
        embed_images(model.network, images, chunks, batch, workers, share)
        if share.rank:
            return 0
        chunks.wait()
        found, damaged = found_in(chunks, images, model.about)
        if not len(found):
            raise UsageError(f"{args.folder}: none of its {len(images)} images can be read, the first: {damaged[0]}")
        print(output.write(chunks, found))
        chunks.remove()
    return _report(damaged)


def _check(args: argparse.Namespace) -> None:
    for name, least in (("batch", 1), ("workers", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} {value}: give at least {least}")
    if args.append and args.force:
        raise UsageError("--append adds to OUT, and --force replaces it: give one of them")
    if Path(args.output).suffix in (".pth", ".pt", ".npy", ".csv", ".json", ".jpg", ".png"):
        raise UsageError(f"{args.output}: embeddings go to a file that ends in .npz, or a store, such as gallery.faiss")


def _device_of(share) -> str | None:
    """The GPU of one of several processes; otherwise the model's own choice."""
    import torch

    if share.processes == 1 or not torch.cuda.is_available():
        return None
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def _report(damaged: list[str]) -> int:
    if not damaged:
        return 0
    for line in damaged:
        print(printable(line), file=sys.stderr)
    print(f"mdpr embed: {len(damaged)} images could not be read and are left out", file=sys.stderr)
    return 1
