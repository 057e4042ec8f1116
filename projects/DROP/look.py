#!/usr/bin/env python3
"""Look at a trained DROP: the parts that it finds, and how its training went.

python projects/DROP/look.py parts --config-file projects/DROP/configs/synthreid_r18.yml --output parts.png
python projects/DROP/look.py curves logs/drop/synthreid_r18 --output curves.png
"""

import argparse
import sys
from pathlib import Path

# The project's folder, and the checkout if the plugin is not installed
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import mdpr_fastreid  # noqa: E402, F401  # isort: skip

import drop  # noqa: E402, F401  (registers the method)
from drop.pictures import parts_sheet, plot_curves  # noqa: E402

from mdpr_fastreid.config import read_config  # noqa: E402
from mdpr_fastreid.data import build_test_loader  # noqa: E402
from mdpr_fastreid.data.masks import part_groups  # noqa: E402
from mdpr_fastreid.errors import UsageError  # noqa: E402
from mdpr_fastreid.inference import load  # noqa: E402


def main(words: list[str] | None = None) -> int:
    """Draw what the command line asks for; 2 for a mistake in it."""
    args = _parser().parse_args(words)
    try:
        _parts(args) if args.what == "parts" else plot_curves(args.run, args.output)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {args.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="what", required=True)
    parts = verbs.add_parser(
        "parts", help="images, the parts predicted in them, and the true ones where there are masks"
    )
    parts.add_argument("--config-file", required=True)
    parts.add_argument("--weights", help="by default OUTPUT_DIR/model_final.pth")
    parts.add_argument("--images", type=int, default=12, help="how many queries")
    parts.add_argument("--output", type=Path, default=Path("parts.png"))
    parts.add_argument("overrides", nargs="*", metavar="KEY VALUE")
    curves = verbs.add_parser("curves", help="mAP, mIoU and visibility F1 over a training")
    curves.add_argument("run", type=Path, help="OUTPUT_DIR")
    curves.add_argument("--output", type=Path, default=Path("curves.png"))
    return parser


def _parts(args: argparse.Namespace) -> None:
    if args.images < 1:
        raise UsageError(f"--images {args.images}: give 1 or more")
    cfg = read_config(
        args.config_file, [*args.overrides, "TEST.IMS_PER_BATCH", args.images, "DATALOADER.NUM_WORKERS", 0]
    )
    model = load(cfg, args.weights or f"{cfg.OUTPUT_DIR}/model_final.pth", folded=False)
    loader, _ = build_test_loader(cfg, cfg.DATASETS.TESTS[0])
    batch = next(iter(loader))
    masks = batch["masks"] if (batch["masks"] != 255).any() else None
    sheet = parts_sheet(model, batch["images"], masks, part_groups(cfg).parts)
    try:
        sheet.save(args.output)
    except (OSError, ValueError) as error:
        raise UsageError(f"{args.output} cannot be written: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
