"""``mdpr space``: the embeddings of a test set in two dimensions."""

import argparse
from pathlib import Path

from mdpr_fastreid.cli.model_options import add_overrides, add_training_arguments, count
from mdpr_fastreid.errors import UsageError, printable

HELP = "draw a trained model's embeddings of its test set in two dimensions, by identity and by camera"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_training_arguments(parser)
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="the picture: .png or .jpg")
    parser.add_argument("--method", default="tsne", metavar="M", help="tsne or pca")
    parser.add_argument("--identities", type=count, default=20, metavar="N", help="how many, those with most images")
    parser.add_argument("--seed", type=count, default=0, metavar="S", help="of t-SNE")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Embed, place, draw."""
    import numpy as np

    from mdpr_fastreid.pictures.files import need_picture_place, write_picture
    from mdpr_fastreid.pictures.space import METHODS, MOST_IDENTITIES, choose_identities, draw_space, flat
    from mdpr_fastreid.pictures.trained import evaluated, load_trained, vectors_of

    if args.method not in METHODS:
        raise UsageError(f"--method {args.method!r}: give {' or '.join(METHODS)}")
    if not 1 <= args.identities <= MOST_IDENTITIES:
        raise UsageError(f"--identities {args.identities}: give a number from 1 to {MOST_IDENTITIES}")
    need_picture_place(args.output, args.force)
    cfg, model = load_trained(args)
    found = evaluated(cfg, model)
    identities, cameras = found.collected.identities, found.collected.cameras
    chosen = np.isin(identities, choose_identities(identities, found.collected.num_query, args.identities))
    places, axes = flat(vectors_of(found)[chosen], args.method, args.seed)
    count_of = len(np.unique(identities[chosen]))
    title = f"{cfg.MODEL.META_ARCHITECTURE} on {found.data_set}: {chosen.sum():,} images of {count_of} identities"
    write_picture(args.output, draw_space(places, identities[chosen], cameras[chosen], title, axes))
    print(f"wrote {printable(str(args.output))}: {title}; {axes}")
    return 0
