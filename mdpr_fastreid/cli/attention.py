"""``mdpr attention``: where a trained model looks in images, as a sheet."""

import argparse
import os
import sys
from pathlib import Path

from mdpr_fastreid.cli.model_options import add_place_arguments
from mdpr_fastreid.errors import UsageError, printable

HELP = "draw where a trained model looks: MDPR's attention maps and stripes, or another model's activation"
_MOST = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, and folders of them")
    add_place_arguments(parser)
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="the sheet: .png or .jpg")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")


def run(args: argparse.Namespace) -> int:
    """Look, draw; 1 if an image could not be read."""
    from mdpr_fastreid.embedding.loading import load_network
    from mdpr_fastreid.pictures.attention_sheet import attention_sheet
    from mdpr_fastreid.pictures.files import need_picture_place, write_picture
    from mdpr_fastreid.pictures.looking import look, stripes_of

    paths = [path for word in args.images for path in _images_of(word)]
    if len(paths) > _MOST:
        raise UsageError(f"{len(paths)} images are too many for a sheet: give at most {_MOST}")
    need_picture_place(args.output, args.force)
    is_exported = args.model.endswith(".onnx")
    network = load_network(
        args.model, args.weights, device=args.device, folded=None if is_exported else False, imports=args.imports
    )
    rows, damaged = look(network, paths)
    for error in damaged:
        print(f"mdpr attention: {error}", file=sys.stderr)
    if not rows:
        raise UsageError("none of the images can be read")
    write_picture(args.output, attention_sheet(rows, stripes_of(network.module)))
    print(f"{network.description}: {', '.join(rows[0].maps)}")
    print(f"wrote {printable(str(args.output))}: {len(rows)} images, {len(damaged)} that cannot be read")
    return 1 if damaged else 0


def _images_of(word: str) -> list[str]:
    from mdpr_fastreid.embedding.facts import find_images

    if not os.path.isdir(word):
        return [word]
    found = find_images(word)
    return [found.path(row) for row in range(len(found))]
