"""The networks whose speed is measured, and what they are given."""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from fastreid.config import CfgNode, get_cfg

from mdpr_fastreid.config import config_file
from mdpr_fastreid.errors import UsageError

_CONFIGS = {"mdpr": "MDPR/duke_r50.yml", "sbs": "Baselines/sbs_duke_r50.yml", "mgn": "Baselines/mgn_duke_r50.yml"}
_DUKE_IDENTITIES = 702
_INSTANCES = 4
_WITHOUT_BOTTLENECKS = ("r18", "r34")


def add_network_arguments(parser: argparse.ArgumentParser, settings: Iterable[str], name: str) -> None:
    """The options of all measurements of networks: which, on what, how often, and where the results go."""
    settings = tuple(settings)
    parser.add_argument("--backbone", default="r50", choices=("r18", "r34", "r50", "r101"), help="ResNet's depth")
    parser.add_argument(
        "--size", type=image_size, default=(384, 192), metavar="HxW", help="height and width of the images"
    )
    parser.add_argument("--batch", type=int, default=8, help="images at a time")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; in each, every setting has its turn")
    parser.add_argument("--threads", type=int, help="threads on a CPU; PyTorch's own choice by default")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--methods", nargs="+", choices=settings, default=list(settings), help="all by default; reference is always run"
    )
    parser.add_argument("--components", action="store_true", help="instead: where the time of MDPR's settings goes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="of MDPR's config, such as MODEL.MDPR.PARTS 3"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("logs/bench"), help=f"folder of {name}.json and {name}.md, which grow"
    )


def check_network_arguments(args: argparse.Namespace) -> None:
    """Refuse what cannot be run, and set the threads.

    Raises:
        UsageError: the message says what to change.
    """
    if min(args.repeats, args.batch) < 1 or (args.threads is not None and args.threads < 1):
        raise UsageError("--batch, --repeats and --threads need to be 1 or more")
    try:
        device = torch.device(args.device)
    except RuntimeError as error:
        raise UsageError(f"--device {args.device!r} is none: give cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {args.device}: give cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {args.device}: this machine has {torch.cuda.device_count()} GPUs that PyTorch sees")
    set_threads(args)


def described(args: argparse.Namespace) -> dict[str, str | int | None]:
    """What all rows of a table have in common: network, input and threads."""
    return {
        "network": f"ResNet-{args.backbone[1:]}, {args.size[0]}x{args.size[1]}, batch {args.batch}",
        "threads": torch.get_num_threads() if args.device == "cpu" else None,
    }


def set_threads(args: argparse.Namespace) -> None:
    """Let PyTorch compute with ``--threads``, where given; a new process needs it again."""
    if args.threads is not None:
        torch.set_num_threads(args.threads)


def network_config(method: str, args: argparse.Namespace, *overrides) -> CfgNode:
    """The packaged configuration of a method for DukeMTMC-reID, at the backbone and size asked for.

    Args:
        method: ``mdpr``, ``sbs`` or ``mgn``.
        args: of :func:`add_network_arguments`.
        *overrides: ``KEY, VALUE, ...`` on top.
    """
    cfg = get_cfg()
    cfg.merge_from_file(config_file(_CONFIGS[method]))
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", args.device, "MODEL.BACKBONE.PRETRAIN", False),
            *("MODEL.BACKBONE.DEPTH", f"{args.backbone[1:]}x", "MODEL.HEADS.NUM_CLASSES", _DUKE_IDENTITIES),
            *("MODEL.BACKBONE.FEAT_DIM", 512 if args.backbone in _WITHOUT_BOTTLENECKS else 2048),
            *("INPUT.SIZE_TRAIN", list(args.size), "INPUT.SIZE_TEST", list(args.size)),
            # Every layer is trained from the first step on, as in most of a run
            *("SOLVER.FREEZE_ITERS", 0, "SOLVER.IMS_PER_BATCH", args.batch),
            *(args.opts if method == "mdpr" else ()),
            *overrides,
        ]
    )
    return cfg


def exists(setting: str, args: argparse.Namespace) -> bool:
    """Whether a setting is one of this backbone and device: MGN needs bottleneck blocks, float16 a GPU."""
    if setting.startswith("mgn") and args.backbone in _WITHOUT_BOTTLENECKS:
        return False
    return "float16" not in setting.split("-") or args.device != "cpu"


def synthetic_batch(args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Noise for images ``[B, 3, H, W]`` in 0 to 255, and labels with four images an identity, as PK sampling gives."""
    generator = torch.Generator().manual_seed(args.seed)
    images = torch.rand(args.batch, 3, *args.size, generator=generator) * 255
    targets = torch.arange(args.batch) // _INSTANCES
    return {"images": images.to(args.device), "targets": targets.to(args.device)}


def image_size(text: str) -> tuple[int, int]:
    """``HxW`` of a command line as height and width."""
    match = re.fullmatch(r"(\d+)[xX](\d+)", text)
    if not match or min(int(side) for side in match.groups()) < 32:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give height x width, such as 384x192, 32 or more each")
    return int(match[1]), int(match[2])
