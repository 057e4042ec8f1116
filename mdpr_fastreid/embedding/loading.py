"""From what a user has of a trained model to the network that embeds: a run's folder, config and weights, ONNX."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from fastreid.config import CfgNode

from mdpr_fastreid.config import config_file, read_config
from mdpr_fastreid.config.own_code import hinting_at_import, import_modules
from mdpr_fastreid.embedding.networks import EmbeddingNetwork, network_of, onnx_network
from mdpr_fastreid.engine.evaluation_network import evaluation_network
from mdpr_fastreid.errors import UsageError, printable, shown
from mdpr_fastreid.inference import PRECISIONS
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.weights import load_for_evaluation

RUN_CONFIG = "config.yaml"
"""What a training writes its whole config to."""

_CHECKPOINTS = ("model_best.pth", "model_final.pth")
_LAST = "last_checkpoint"
_OFFERED = "`ReID.load` takes a run's folder, a config and its weights, or an exported .onnx file"


def load_network(
    source: str | os.PathLike | CfgNode,
    weights: str | os.PathLike | None = None,
    *,
    device: str | None = None,
    precision: str | None = None,
    folded: bool | None = None,
    overrides: Sequence = (),
    imports: Sequence[str] = (),
) -> EmbeddingNetwork:
    """The network of :meth:`mdpr_fastreid.ReID.load`, with the same arguments.

    Raises:
        UsageError: as there.
    """
    if not isinstance(source, (str, os.PathLike, CfgNode)):
        raise UsageError(f"{type(source).__name__} is no trained model: {_OFFERED}")
    if not isinstance(source, CfgNode) and os.fspath(source).endswith(".onnx"):
        _refuse_for_onnx(source, weights=weights, precision=precision, folded=folded, overrides=tuple(overrides))
        return onnx_network(source, device)
    if isinstance(overrides, str) or isinstance(imports, str):
        raise UsageError("overrides are a list (KEY, VALUE, ...), and imports a list of modules, no single text")
    if not isinstance(source, CfgNode):
        _need_source(source)
    import_modules(imports, "imports")
    name = "" if isinstance(source, CfgNode) else os.path.abspath(source) if os.path.exists(source) else str(source)
    if not isinstance(source, CfgNode) and os.path.isdir(source):
        config, found = files_of_run(Path(source))
        weights = found if weights is None else weights
        cfg = _config(config, overrides)
    else:
        cfg = source.clone() if isinstance(source, CfgNode) else _config(source, overrides)
    weights = os.fspath(weights) if weights is not None else cfg.MODEL.WEIGHTS
    if not weights:
        raise UsageError(f"{name or 'the config'}: give the trained weights, too; {_OFFERED}")
    _settle(cfg, device, precision, folded)
    with hinting_at_import():
        model = build_model(cfg).eval()
    load_for_evaluation(model, weights, cfg.MODEL.get("WEIGHTS_SHA256", ""))
    network = evaluation_network(cfg, model)
    return network_of(cfg, os.path.abspath(weights), network.eval(), name)


def _need_source(source: str | os.PathLike) -> None:
    """Refuse what is neither a folder nor a config."""
    name = os.fspath(source)
    if name.endswith((".pth", ".pt", ".safetensors")):
        raise UsageError(f"{shown(name)} are weights: give the training's folder, or the config first; {_OFFERED}")
    if not os.path.exists(config_file(name)):
        raise UsageError(f"there is no {shown(name) or 'model without a name'}: {_OFFERED}")


def _refuse_for_onnx(source: str | os.PathLike, **given: object) -> None:
    for name, value in given.items():
        if value is not None and value != ():
            raise UsageError(f"{source} is exported, and has its own {name}: leave {name} out")


def _config(file: str | os.PathLike, overrides: Sequence) -> CfgNode:
    with hinting_at_import():
        return read_config(file, overrides, parts=("model", "evaluation"))


def _settle(cfg: CfgNode, device: str | None, precision: str | None, folded: bool | None) -> None:
    """Write into a config what was asked for, or what this machine has."""
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False  # all weights come from the file
    wanted = str(device) if device is not None else cfg.MODEL.DEVICE
    if device is None and wanted.startswith("cuda") and not torch.cuda.is_available():
        wanted = "cpu"
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {printable(wanted)!r}: {str(error).splitlines()[0]}") from None
    cfg.MODEL.DEVICE = wanted
    if precision is not None:
        if precision not in PRECISIONS:
            raise UsageError(f"precision {precision!r}: give one of {', '.join(PRECISIONS)}")
        cfg.TEST.AMP = precision
    if folded is not None:
        cfg.TEST.FOLDED = folded


def files_of_run(folder: Path) -> tuple[Path, Path]:
    """The config and the weights in a training's folder: the best checkpoint, or the last.

    Raises:
        UsageError: it has none.
    """
    config = folder / RUN_CONFIG
    if not config.is_file():
        raise UsageError(f"{folder} is no folder of a training: it has no {RUN_CONFIG}; {_OFFERED}")
    names = [name for name in _CHECKPOINTS if (folder / name).is_file()]
    if not names and (folder / _LAST).is_file():
        last = (folder / _LAST).read_text(errors="replace").strip()
        names = [last] if last and "/" not in last and (folder / last).is_file() else []
    if not names:
        raise UsageError(f"{folder} has no weights ({', '.join(_CHECKPOINTS)}): has its training saved any?")
    return config, folder / names[0]
