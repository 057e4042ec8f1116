"""The options by which verbs find a trained model."""

import argparse

from mdpr_fastreid.config.own_code import add_import_argument


def add_place_arguments(
    parser: argparse.ArgumentParser, default: str = "", kinds: str = "a training's folder, or a config (then --weights)"
) -> None:
    """Add ``--model``, ``--weights``, ``--device`` and ``--import``: where a trained model is, and where it runs.

    Args:
        parser: of the verb.
        default: what takes the place of ``--model``, in words; without it, the option is required.
        kinds: what it may be.
    """
    end = f" (default: {default})" if default else ""
    parser.add_argument("--model", required=not default, metavar="M", help=f"{kinds}{end}")
    parser.add_argument("--weights", metavar="W", help="weight file, with a config or instead of a folder's best")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: MODEL.DEVICE, or cpu where that is not there)")
    add_import_argument(parser)


def add_model_arguments(parser: argparse.ArgumentParser, default: str = "") -> None:
    """Add the options that name a trained model and how it computes, for :func:`load_model`."""
    add_place_arguments(parser, default, "a training's folder, a config (then --weights), or an exported .onnx file")
    parser.add_argument("--precision", metavar="P", help="float32, bfloat16 or float16 (default: TEST.AMP)")
    parser.add_argument("--no-fold", action="store_true", help="run the network as it was trained")


def load_model(args: argparse.Namespace, device: str | None = None):
    """The :class:`~mdpr_fastreid.reid.ReID` that :func:`add_model_arguments` names; a line says what it is."""
    from mdpr_fastreid.reid import ReID

    model = ReID.load(
        args.model,
        args.weights,
        device=args.device or device,
        precision=args.precision,
        folded=False if args.no_fold else None,
        imports=args.imports,
    )
    print(f"{model}", flush=True)
    return model


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--config-file``, or ``--model``, ``--weights`` and ``--import``, for ``pictures.trained.load_trained``."""
    parser.add_argument(
        *("--config-file", "--model"), required=True, metavar="C", help="the config, or the folder, of a training"
    )
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
