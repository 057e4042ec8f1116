"""``mdpr export``: a trained model as a file for ONNX Runtime, TorchScript or torch.export."""

import argparse
from pathlib import Path

from mdpr_fastreid.config.own_code import add_import_argument, hinting_at_import, import_modules
from mdpr_fastreid.errors import UsageError

HELP = "write a trained model's folded network as an ONNX, TorchScript or torch.export file"

_HOW_TO_LOAD = {
    "onnx": "onnxruntime.InferenceSession({path!r}).run({names}, {{'images': images}})",
    "torchscript": "torch.jit.load({path!r})(images)",
    "torch-export": "torch.export.load({path!r}).module()(images)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("--config-file", required=True, metavar="C", help="the config that was trained with")
    parser.add_argument("--weights", required=True, metavar="W", help="its checkpoint: .pth, or .safetensors")
    parser.add_argument("--format", required=True, metavar="F", help="onnx, torchscript or torch-export")
    parser.add_argument("--output", required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--input",
        default="pixels",
        metavar="I",
        help="pixels: RGB from 0 to 255 (default); normalized: (RGB - mean) / std, as trackers hand it over",
    )
    add_import_argument(parser)
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings on top of the config's")


def run(args: argparse.Namespace) -> int:
    """Build, load, fold, write, and run what was written against what was meant."""
    from mdpr_fastreid.inference.export import (
        INPUTS,
        check_export,
        described,
        export,
        for_input,
        image_size,
        metadata,
        outputs_of,
    )

    path = Path(args.output)
    check_export(path, args.format)
    if args.input not in INPUTS:
        raise UsageError(f"--input {args.input}: give one of {', '.join(INPUTS)}")
    if path.exists() and not args.force:
        raise UsageError(f"{path} exists already; --force replaces it")

    from mdpr_fastreid.config import read_config
    from mdpr_fastreid.inference import load

    import_modules(args.imports)
    with hinting_at_import():
        cfg = read_config(args.config_file, args.overrides, parts=("model",))
    size = image_size(cfg)
    print(f"folding {cfg.MODEL.META_ARCHITECTURE} of {args.config_file} with the weights of {args.weights}", flush=True)
    network = load(cfg, args.weights, device="cpu", winograd=False)
    network = for_input(network, args.input)
    about = metadata(cfg, network, args.weights, args.input)
    print(f"exporting to {path}, and running the export to compare (a minute for a large network)", flush=True)
    difference = export(network, path, args.format, size, about)
    outputs = outputs_of(network, size)
    if network.features:
        print(f"features: {', '.join(f'{name} {length}' for name, length in network.features.items())}")
    print(f"input: {about['input']}\noutput: {described(outputs)}")
    print(
        f"wrote {path}, {path.stat().st_size / 2**20:.1f} MiB; what it computes differs by {difference:.0e} at most. "
        f"Load it: {_HOW_TO_LOAD[args.format].format(path=str(path), names=list(outputs))}"
    )
    return 0
