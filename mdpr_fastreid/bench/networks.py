"""The networks whose speed is measured, and what they are given."""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from fastreid.config import CfgNode, get_cfg

from mdpr_fastreid.bench.processes import set_threads
from mdpr_fastreid.bench.rounds import REFERENCE
from mdpr_fastreid.config import check_config, config_file, read_config
from mdpr_fastreid.config.own_code import add_import_argument, hinting_at_import, import_modules
from mdpr_fastreid.data.fields import build_fields
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling.backbones import build_backbone

_CONFIGS = {"mdpr": "MDPR/duke_r50.yml", "sbs": "Baselines/sbs_duke_r50.yml", "mgn": "Baselines/mgn_duke_r50.yml"}
_DUKE_IDENTITIES = 702
_INSTANCES = 4
_IMAGES = "images"
_RESNETS = ("r18", "r34", "r50", "r101")
_WITHOUT_BOTTLENECKS = ("r18", "r34")


def add_network_arguments(parser: argparse.ArgumentParser, settings: Iterable[str], name: str) -> None:
    """The options of all measurements of networks: which, on what, how often, and where the results go."""
    settings = tuple(settings)
    parser.add_argument(
        "--backbone", default="r50", metavar="NAME", help=f"of {', '.join(_RESNETS)}, and timm's models"
    )
    parser.add_argument(
        "--size", type=image_size, default=(384, 192), metavar="HxW", help="height and width of the images"
    )
    parser.add_argument("--batch", type=int, default=8, help="images at a time")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; in each, every setting has its turn")
    parser.add_argument("--threads", type=int, help="threads on a CPU; PyTorch's own choice by default")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        default=list(settings),
        help=f"of {', '.join(settings)}, and config files, which get this backbone and size (default: all that have a "
        "name)",
    )
    parser.add_argument(
        "--against",
        metavar="NAME",
        default=REFERENCE,
        help="the one that the others are compared with, which is run, too",
    )
    add_import_argument(parser)
    parser.add_argument("--components", action="store_true", help="instead: where the time of MDPR's settings goes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="of MDPR's config, such as MODEL.MDPR.PARTS 3"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("logs/bench"), help=f"folder of {name}.json and {name}.md, which grow"
    )


def check_network_arguments(args: argparse.Namespace) -> None:
    """Refuse what cannot be run, set the threads, and import code of the user's own.

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
    import_modules(args.imports)
    if args.backbone not in _RESNETS:
        _check_timm_backbone(args)


def _check_timm_backbone(args: argparse.Namespace) -> None:
    """Build the backbone, as a mistake would be a traceback of the process that measures."""
    try:
        build_backbone(network_config("mdpr", args))
    except UsageError as error:
        raise UsageError(
            f"--backbone {args.backbone} is none of {', '.join(_RESNETS)}, so it is timm's: {error}"
        ) from None


def described(args: argparse.Namespace) -> dict[str, str | int | None]:
    """What all rows of a table have in common: network, input and threads."""
    return {
        "network": f"{title_of_backbone(args)}, {args.size[0]}x{args.size[1]}, batch {args.batch}",
        "threads": torch.get_num_threads() if args.device == "cpu" else None,
        "reference": title_of(args.against) if args.against != REFERENCE else None,
    }


def title_of_backbone(args: argparse.Namespace) -> str:
    """What a table calls the backbone."""
    return f"ResNet-{args.backbone[1:]}" if args.backbone in _RESNETS else args.backbone


def is_config_file(setting: str) -> bool:
    """Whether a setting is the path of a config, and not the name of one of ours."""
    return Path(setting).suffix in (".yml", ".yaml")


def chosen_settings(args: argparse.Namespace, settings: Iterable[str]) -> list[str]:
    """What is run: those of our settings that are asked for and exist, in their order, then config files.

    Args:
        args: of :func:`add_network_arguments`.
        settings: ours.

    Raises:
        UsageError: a name is neither, the one to compare with does not exist, or a config cannot be run.
    """
    settings, asked = tuple(settings), [args.against, *args.methods]
    for name in asked:
        if name not in settings and not is_config_file(name):
            raise UsageError(f"{name} is no setting: there are {', '.join(settings)}, and config files")
    if args.against in settings and not exists(args.against, args):
        raise UsageError(f"--against {args.against}: it cannot be run with --backbone {args.backbone} on {args.device}")
    ours = [name for name in settings if name in asked and exists(name, args)]
    files = list(dict.fromkeys(name for name in asked if is_config_file(name)))
    for name in files:  # in a process of its own, a mistake would be a traceback
        synthetic_batch(args, network_config(name, args))
    return [*ours, *files]


def title_of(setting: str) -> str:
    """What a row of a table is called."""
    return Path(setting).name if is_config_file(setting) else setting


def network_config(method: str, args: argparse.Namespace, *overrides) -> CfgNode:
    """The configuration of a method, at the backbone and size asked for, with DukeMTMC-reID's identities.

    Args:
        method: ``mdpr``, ``sbs`` or ``mgn``, which are packaged; or the path of a config.
        args: of :func:`add_network_arguments`.
        *overrides: ``KEY, VALUE, ...`` on top.

    Raises:
        UsageError: a config file cannot be read, or its model cannot be built so.
    """
    if is_config_file(method):
        return _config_of_file(method, args, *overrides)
    cfg = get_cfg()
    cfg.merge_from_file(config_file(_CONFIGS[method]))
    _set_conditions(cfg, args, *(args.opts if method == "mdpr" else ()), *overrides)
    if method == "sbs" and args.backbone not in _RESNETS:
        cfg.MODEL.HEADS.POOL_LAYER = "GlobalAvgPool"  # its own takes negative values, which many maps have, for zero
    return cfg


def _config_of_file(path: str, args: argparse.Namespace, *overrides) -> CfgNode:
    import_modules(args.imports)
    cfg = read_config(path, parts=())
    _set_conditions(cfg, args, "MODEL.WEIGHTS", "", *overrides)
    with hinting_at_import():
        check_config(cfg, ("model",))
    return cfg


def _set_conditions(cfg: CfgNode, args: argparse.Namespace, *overrides) -> None:
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", args.device, "MODEL.BACKBONE.PRETRAIN", False),
            *("MODEL.HEADS.NUM_CLASSES", _DUKE_IDENTITIES),
            *("INPUT.SIZE_TRAIN", list(args.size), "INPUT.SIZE_TEST", list(args.size)),
            # Every layer is trained from the first step on, as in most of a run
            *("SOLVER.FREEZE_ITERS", 0, "SOLVER.IMS_PER_BATCH", args.batch),
            *_backbone_settings(args.backbone),
            *overrides,
        ]
    )
    if args.backbone not in _RESNETS and cfg.MODEL.META_ARCHITECTURE != "MDPR":
        cfg.MODEL.BACKBONE.FEAT_DIM = build_backbone(cfg).channels


def _backbone_settings(name: str) -> tuple:
    if name not in _RESNETS:
        return "MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM.MODEL", name
    return (
        *("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", f"{name[1:]}x"),
        *("MODEL.BACKBONE.FEAT_DIM", 512 if name in _WITHOUT_BOTTLENECKS else 2048),
    )


def exists(setting: str, args: argparse.Namespace) -> bool:
    """Whether a setting is one of this backbone, batch and device: MGN needs FastReID's bottlenecks, float16 a GPU."""
    if setting == "accumulated" and args.batch < 4:
        return False  # batch norm needs two images in a part
    if setting.startswith("mgn") and (args.backbone not in _RESNETS or args.backbone in _WITHOUT_BOTTLENECKS):
        return False
    return "float16" not in setting.split("-") or args.device != "cpu"


def synthetic_batch(
    args: argparse.Namespace, cfg: CfgNode | None = None, is_train: bool = True
) -> dict[str, torch.Tensor]:
    """Noise for images ``[B, 3, H, W]`` in 0 to 255, and labels with four of an identity, as PK sampling gives.

    Args:
        args: of :func:`add_network_arguments`.
        cfg: a config whose ``INPUT.FIELDS`` are in the batch, too, or alone if its batches have no images.
        is_train: whether the batch is one of training.

    Raises:
        UsageError: a field makes up no sample.
    """
    generator = torch.Generator().manual_seed(args.seed)
    fields = build_fields(cfg, is_train) if cfg is not None else ()
    batch = {"targets": torch.arange(args.batch) // _INSTANCES}
    if cfg is None or any(field.key == _IMAGES for field in fields):
        batch[_IMAGES] = torch.rand(args.batch, 3, *args.size, generator=generator) * 255
    for field in fields:
        if field.key != _IMAGES:
            batch[field.key] = torch.stack([field.noise(args.size, generator) for _ in range(args.batch)])
    return {key: value.to(args.device) for key, value in batch.items()}


def image_size(text: str) -> tuple[int, int]:
    """``HxW`` of a command line as height and width."""
    match = re.fullmatch(r"(\d+)[xX](\d+)", text)
    if not match or min(int(side) for side in match.groups()) < 32:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give height x width, such as 384x192, 32 or more each")
    return int(match[1]), int(match[2])
