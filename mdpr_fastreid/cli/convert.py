"""``mdpr convert``: a weight file from the published MDPR's names to ours, or back."""

import argparse
from pathlib import Path

from mdpr_fastreid.errors import UsageError

HELP = "translate a weight file between the published MDPR's names and ours"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("input", metavar="IN", help="weights to read: .pth, or .safetensors")
    parser.add_argument("output", metavar="OUT", help="weights to write: .pth, or .safetensors")
    parser.add_argument("--to-official", action="store_true", help="from our names to the published ones")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")


def run(args: argparse.Namespace) -> int:
    """Translate, report what was not weights, and write through a temporary file."""
    from mdpr_fastreid.weights import read_weights, write_weights
    from mdpr_fastreid.weights.published import from_official, settings, to_official

    source, target = Path(args.input), Path(args.output)
    if target.exists() and not args.force:
        raise UsageError(f"{target} exists already; --force replaces it")
    state_dict, left = read_weights(source)
    if args.to_official and any(name.startswith("generate.") for name in state_dict):
        raise UsageError(f"{source} has the published names already; without --to-official it gets ours")
    if not args.to_official and any(name.startswith("backbone.trunk.") for name in state_dict):
        raise UsageError(f"{source} has our names already; --to-official gives it the published ones")
    try:
        translated = (to_official if args.to_official else from_official)(state_dict)
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from None
    write_weights(translated, target)
    cfg = settings(state_dict if args.to_official else translated)
    mdpr, ibn = cfg.MODEL.MDPR, "-IBN" if cfg.MODEL.BACKBONE.WITH_IBN else ""
    print(f"{len(translated)} tensors of {source} written to {target}, none missing, none unknown")
    print(
        f"ResNet-{cfg.MODEL.BACKBONE.DEPTH.rstrip('x')}{ibn}, {cfg.MODEL.HEADS.NUM_CLASSES} identities, "
        f"EMBEDDING_DIM {mdpr.EMBEDDING_DIM}, PARTS {mdpr.PARTS}, ATTENTION.MAPS {mdpr.ATTENTION.MAPS}, "
        f"GUIDED {mdpr.ATTENTION.GUIDED}, FUSION {mdpr.FUSION.ENABLED}, DISTILL {mdpr.DISTILL.ENABLED}"
    )
    if left:
        print(f"left out, as no weights: {', '.join(left)}")
    return 0
