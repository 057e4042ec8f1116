"""Backbones of timm's: whether the cut, folding and export keep the features, whether they train, what they cost."""

import argparse
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from fastreid.config import CfgNode, get_cfg
from fastreid.utils.events import EventStorage
from torch import nn

from mdpr_fastreid.bench import report
from mdpr_fastreid.bench.cost import multiply_adds, parameters
from mdpr_fastreid.bench.infer import settle_batch_norms
from mdpr_fastreid.bench.networks import image_size
from mdpr_fastreid.config import check_config, config_file
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.inference import fold
from mdpr_fastreid.inference.export import FORMATS, check_export, export, outputs_of
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.modeling.backbones import build_backbone, split_stages
from mdpr_fastreid.modeling.backbones.timm_models.layouts import AtSizeOfInput

HELP = "backbones of timm's: whether cut, folded and exported they give the same features, and what they cost"

DOCUMENTED = (
    *("resnet50", "resnetv2_50", "regnety_016", "efficientnet_b0", "mobilenetv3_large_100", "mobilenetv4_conv_small"),
    *("hgnetv2_b2", "repvit_m1_0", "fastvit_t12", "starnet_s2", "convnext_tiny", "convnextv2_tiny", "edgenext_small"),
    *("inception_next_tiny", "mambaout_tiny", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"),
    *("swinv2_cr_tiny_ns_224", "davit_tiny", "caformer_s18", "focalnet_tiny_srf", "tiny_vit_11m_224", "pvt_v2_b1"),
    *("hiera_tiny_224", "vit_small_patch16_224", "deit3_small_patch16_224", "vit_base_patch16_clip_quickgelu_224"),
    *("vit_small_patch14_reg4_dinov2", "eva02_small_patch14_224"),
)
"""A model of each family of docs/reference/backbones.md."""

METHODS = {"MDPR": "Base-MDPR.yml", "Baseline": "Baselines/Base-BoT.yml"}
_IDENTITIES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which models, for images of which size, and where the results go."""
    parser.add_argument(
        "names",
        nargs="*",
        default=list(DOCUMENTED),
        metavar="NAME",
        help="of timm's models (default: one of each family of docs/reference/backbones.md)",
    )
    parser.add_argument(
        "--size",
        type=image_size,
        default=(256, 128),
        metavar="HxW",
        help="height and width of the images; patches of 14 get the nearest smaller multiple",
    )
    parser.add_argument(
        "--formats", nargs="*", default=["onnx"], metavar="F", help=f"of exported files: {', '.join(FORMATS)}; or none"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path("logs/bench"), help="folder of backbones.json and backbones.md, which grow"
    )


def run(args: argparse.Namespace) -> int:
    """Build each model, check it, print and write the table; one that is refused or fails has a row that says why."""
    for file_format in args.formats:
        with tempfile.TemporaryDirectory() as folder:
            check_export(Path(folder) / "network.pt2", file_format)
    rows = []
    for name in dict.fromkeys(args.names):
        print(f"{name} ...", flush=True)
        rows += list(_rows(name, args))
    about = {"images": f"{args.size[0]}x{args.size[1]}", "exported as": " and ".join(args.formats)}
    print(report.add_run("backbones", rows, _COLUMNS, args.output, about))
    return 0


def _rows(name: str, args: argparse.Namespace) -> Iterator[dict]:
    for method in METHODS:
        row = {"name": name, "method": method}
        try:
            cfg = backbone_config(method, name, args.size)
            yield row | measured(cfg, args.formats, args.seed)
        except UsageError as error:
            yield row | {"refused": str(error)}
        except Exception as error:  # of one model of many, each of which takes minutes
            traceback.print_exc()
            yield row | {"refused": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}


def backbone_config(method: str, name: str, size: tuple[int, int]) -> CfgNode:
    """The config of a method on a model of timm's, with random weights.

    Args:
        method: of :data:`METHODS`.
        name: of the model.
        size: height and width of the images, which are made smaller where patches of the model do not fill them.

    Raises:
        UsageError: the model does not exist, or gives no map.
    """
    cfg = get_cfg()
    cfg.merge_from_file(config_file(METHODS[method]))
    size = _filled(name, size)
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", _IDENTITIES, "MODEL.HEADS.POOL_LAYER", "GlobalAvgPool"),
            *("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM.MODEL", name),
            *("MODEL.BACKBONE.LAST_STRIDE", 1 if method == "MDPR" else 2, "MODEL.BACKBONE.PRETRAIN", False),
            *("INPUT.SIZE_TRAIN", list(size), "INPUT.SIZE_TEST", list(size)),
        ]
    )
    check_config(cfg, ("model",))
    if method == "Baseline":
        cfg.MODEL.BACKBONE.FEAT_DIM = build_backbone(cfg).channels
    return cfg


def measured(cfg: CfgNode, formats: Sequence[str], seed: int = 0) -> dict[str, float | int | str]:
    """What a row of the table says of a model.

    Differences are the largest of a value, relative to the largest value: of the cut and of folding in float64, of
    exporting in float32.

    Args:
        cfg: of :func:`backbone_config`.
        formats: of exported files.
        seed: of weights and images.

    Raises:
        UsageError: the model cannot be built, folded or exported.
    """
    torch.manual_seed(seed)
    model = build_model(cfg)
    size = tuple(cfg.INPUT.SIZE_TEST)
    images = torch.rand(4, 3, *size, generator=torch.Generator().manual_seed(seed)) * 255
    row = {"size": f"{size[0]}x{size[1]}", "loss": training_loss(model, images)}
    row |= {"parameters": parameters(model), "multiply_adds": multiply_adds(model, size)}
    settle_batch_norms(model, images)
    row["exported"] = max((_exported(model, cfg, file_format) for file_format in formats), default=None)
    model, images = model.double(), images.double()
    with torch.no_grad():
        row["folded"] = _difference(fold(model, torch.float64)(images), model(images))
        if cfg.MODEL.META_ARCHITECTURE == "MDPR":
            row["cut"] = cut_difference(cfg, images)
    return row


def training_loss(model: nn.Module, images: torch.Tensor) -> float:
    """The loss of a training step, after which every weight that is trained has a gradient.

    Raises:
        UsageError: a weight has none, or the loss is no number.
    """
    with EventStorage():
        losses = model.train()({"images": images.clone(), "targets": torch.arange(len(images)) // 2})
    loss = sum(losses.values())
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if without or not torch.isfinite(loss):
        raise UsageError(
            f"a training step has the loss {loss:g}, and no gradient for {', '.join(without) or 'nothing'}"
        )
    model.zero_grad(set_to_none=True)
    return float(loss.detach())


def cut_difference(cfg: CfgNode, images: torch.Tensor) -> float:
    """How far the last map of the pieces is from that of the whole backbone.

    Args:
        cfg: of MDPR; its backbone is built with stage 4 as it is, and without a class token in the map.
        images: ``[B, 3, H, W]``, float64.
    """
    cfg = cfg.clone()
    cfg.merge_from_list(["MODEL.BACKBONE.TIMM.CLASS_TOKEN", "drop", "MODEL.BACKBONE.LAST_STRIDE", 2])
    whole = build_backbone(cfg).double().eval()
    settle_batch_norms(whole, images)
    pieces = split_stages(whole)
    # Whose map is enlarged for MDPR only
    stage4 = pieces.stage4.stage if isinstance(pieces.stage4, AtSizeOfInput) else pieces.stage4
    return _difference(pieces.view4(stage4(pieces.stage3(pieces.trunk(images)))), whole(images))


def _exported(model: nn.Module, cfg: CfgNode, file_format: str) -> float:
    size = tuple(cfg.INPUT.SIZE_TEST)
    network = fold(model, winograd=False)
    with tempfile.TemporaryDirectory(prefix="mdpr-bench-") as folder:
        about = {"outputs": str(outputs_of(network, size))}
        return export(network, Path(folder) / "network.pt2", file_format, size, about)


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def _filled(name: str, size: tuple[int, int]) -> tuple[int, int]:
    """The size, or the largest smaller one of which patches of 14 leave nothing over."""
    return tuple(side - side % 14 for side in size) if "patch14" in name else size


def _cell(key: str, shown: Callable[[float], str]) -> Callable[[dict], str]:
    return lambda row: "" if row.get(key) is None else shown(row[key])


_COLUMNS = {
    "model": lambda row: f"`{row['name']}`",
    "method": lambda row: row["method"],
    "size": lambda row: row.get("size", f"refused: {row.get('refused', '')}"),
    "cut - whole": _cell("cut", "{:.0e}".format),
    "folded - unfolded": _cell("folded", "{:.0e}".format),
    "exported - folded": _cell("exported", "{:.0e}".format),
    "loss of a training step": _cell("loss", "{:.2f}".format),
    "M parameters": _cell("parameters", lambda value: f"{value / 1e6:.1f}"),
    "G multiply-adds an image": _cell("multiply_adds", lambda value: f"{value / 1e9:.2f}"),
}
