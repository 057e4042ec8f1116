"""The options by which verbs that draw pictures find a trained model."""

import argparse

from mdpr_fastreid.config.own_code import add_import_argument


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--config-file``, ``--weights`` and ``--import``, as ``pictures.trained.load_trained`` reads them."""
    parser.add_argument("--config-file", required=True, metavar="C", help="the config, or the folder, of a training")
    parser.add_argument(
        "--weights", metavar="W", help="its checkpoint (default: the folder's best one, or MODEL.WEIGHTS)"
    )
    add_import_argument(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the settings on top of the config's, which come last."""
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings on top of the config's")


def count(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdecimal() or len(text) > 6:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)
