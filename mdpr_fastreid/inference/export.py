"""Writes a folded network into a file that runs without this package."""

import copy
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import nn

from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.inference.network import FoldedNetwork
from mdpr_fastreid.inference.timm_layers import attention_for_onnx
from mdpr_fastreid.io import need_place, write_whole
from mdpr_fastreid.weights import sha256_of

_TOLERANCE = 1e-3
METADATA_FILE = "metadata.json"
"""What TorchScript's and torch.export's files call the metadata inside; ONNX has a place of its own for it."""


FEATURES = "features"
"""The output of a model that gives one tensor."""

Run = Callable[[torch.Tensor], torch.Tensor | dict[str, torch.Tensor]]
"""From images to outputs: what reading a file gives."""


class _Embedder(nn.Module):
    """Images to outputs, and nothing else in the signature: what a file's reader sees."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        return self.network(images)


def outputs_of(network: FoldedNetwork, size: tuple[int, int]) -> dict[str, dict[str, object]]:
    """Shape and type of each output by name, in order, found by running the network on an image.

    Args:
        network: what is exported.
        size: height and width of the image.

    Returns:
        ``{"shape": ["batch", ...], "dtype": "float32"}`` by the names that the model gives; a single tensor is called
        ``features``.
    """
    return {
        name: {"shape": ["batch", *output.shape[1:]], "dtype": str(output.dtype).removeprefix("torch.")}
        for name, output in _by_name(network(_images(1, size))).items()
    }


def described(outputs: Mapping[str, Mapping[str, object]]) -> str:
    """What :func:`outputs_of` gives in words: ``embeddings float32 [batch, 9, 512], visibility float32 [batch, 9]``."""
    return ", ".join(f"{name} {one['dtype']} [{', '.join(map(str, one['shape']))}]" for name, one in outputs.items())


def _by_name(outputs: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return outputs if isinstance(outputs, dict) else {FEATURES: outputs}


INPUTS = ("pixels", "normalized")
"""What an exported file gets: RGB from 0 to 255; or (RGB - mean) / std, as most trackers hand it over."""


def for_input(network: FoldedNetwork, kind: str) -> FoldedNetwork:
    """The network for images of another kind of :data:`INPUTS`; the one given stays as it is.

    Raises:
        UsageError: an unknown kind.
    """
    if kind not in INPUTS:
        raise UsageError(f"unknown input {kind!r}: give one of {', '.join(INPUTS)}")
    if kind == "pixels":
        return network
    network = copy.deepcopy(network)
    network.network.pixel_mean.zero_()
    network.network.pixel_std.fill_(1)
    return network


def metadata(cfg: CfgNode, network: FoldedNetwork, weights: Path | str, kind: str = "pixels") -> dict[str, str]:
    """What a user of the exported file has to know; values that are no words are JSON.

    Args:
        cfg: the config that the network was built with.
        network: what is exported.
        weights: the file its weights came from.
        kind: of :data:`INPUTS`.

    Raises:
        SettingsError: as :func:`image_size`.
    """
    from mdpr_fastreid import __version__

    height, width = image_size(cfg)
    outputs = outputs_of(network, (height, width))
    single = f"float32 [batch, {sum(network.features.values())}], to be compared by cosine"
    return {
        "plugin_version": __version__,
        "architecture": cfg.MODEL.META_ARCHITECTURE,
        "input": f"float32 [batch, 3, {height}, {width}], {_IN_WORDS[kind]}",
        "normalized": json.dumps(kind == "normalized"),
        "input_size": json.dumps([height, width]),
        "pixel_mean": json.dumps(list(cfg.MODEL.PIXEL_MEAN)),
        "pixel_std": json.dumps(list(cfg.MODEL.PIXEL_STD)),
        "output": single if list(outputs) == [FEATURES] else described(outputs),
        "outputs": json.dumps(outputs),
        "features": json.dumps(network.features),
        "weights": Path(weights).name,
        "weights_sha256": sha256_of(weights),
    }


_IN_WORDS = {
    "pixels": "RGB, 0 to 255; mean and std are applied inside",
    "normalized": "(RGB - pixel_mean) / pixel_std, of RGB from 0 to 255; the caller applies them",
}


def image_size(cfg: CfgNode) -> tuple[int, int]:
    """Height and width of what a network is exported for: ``INPUT.SIZE_TEST``.

    Raises:
        SettingsError: it leaves the size open, as it may in FastReID; or ``INPUT.CROP`` cuts the center out of images,
            which nobody does for a file.
    """
    size = cfg.INPUT.SIZE_TEST
    if cfg.INPUT.CROP.ENABLED:
        raise SettingsError(
            "images of an exported network are resized to INPUT.SIZE_TEST alone, and INPUT.CROP.ENABLED True crops "
            "them after that: give INPUT.CROP.ENABLED False after the options, and evaluate the weights with it, too"
        )
    if len(size) != 2 or min(size) < 1:
        raise SettingsError(
            f"an exported network has one image size, and INPUT.SIZE_TEST is {list(size)}: "
            "give INPUT.SIZE_TEST '[height, width]' after the options"
        )
    return tuple(size)


def export(
    network: FoldedNetwork, path: Path | str, file_format: str, size: tuple[int, int], about: Mapping[str, str]
) -> float:
    """Write a folded network, with a free batch size, once its bytes were run and compute the same.

    Args:
        network: float32, without Winograd convolutions, which are for PyTorch on a CPU only.
        path: the file; an older one stays until the new one is complete and compared.
        file_format: ``onnx``, ``torchscript`` or ``torch-export``.
        size: height and width, which are fixed in the file.
        about: the :func:`metadata`.

    Returns:
        The largest difference of a value from the network's own, relative to the largest value of its output, over
        batches of 1 and 7 random images run from the file.

    Raises:
        UsageError: the format is unknown, needs a package that is not there, or the path cannot be written; or the
            file computes something else, or the network's features are longer or shorter than it says.
    """
    check_export(path, file_format)
    _check_lengths(network, size)
    write, read = FORMATS[file_format]
    with warnings.catch_warnings():
        # TorchScript's own deprecation, and its remark that image size and number of stripes are fixed: they are.
        warnings.simplefilter("ignore")
        # Example of two images: PyTorch takes a batch of one for a constant
        content = io.BytesIO()  # not the file itself: on a full disk PyTorch's writer ends the process
        write(_Embedder(network).eval(), _images(2, size), dict(about), content)
        run = read(content.getvalue())
        difference = max(_difference(run, network, _images(batch, size), path) for batch in (1, 7))
    write_whole(path, content.getvalue())
    return difference


def _difference(run: Run, network: FoldedNetwork, images: torch.Tensor, path: Path | str) -> float:
    """The largest of any output, relative to the largest value of that output."""
    found, expected, largest = _by_name(run(images)), _by_name(network(images)), 0.0
    if list(found) != list(expected):
        raise UsageError(f"{path}: the file gives {', '.join(found)}, and the network {', '.join(expected)}")
    for name, output in expected.items():
        if found[name].shape != output.shape:
            raise UsageError(
                f"{path}: {name} is {list(found[name].shape)} from the file, and {list(output.shape)} here"
            )
        scale = output.double().abs().max().clamp_min(torch.finfo(torch.float32).tiny)
        difference = float((found[name].double() - output.double()).abs().max() / scale)
        if not difference < _TOLERANCE:
            raise UsageError(
                f"{path}: {name} from the file differ from the network's by {difference:.1e} of the largest"
            )
        largest = max(largest, difference)
    return largest


def _check_lengths(network: FoldedNetwork, size: tuple[int, int]) -> None:
    """Refuse to write lengths into a file's metadata that its features do not have; several outputs have shapes."""
    outputs = network(_images(1, size))
    if isinstance(outputs, dict):
        return
    actual, stated = outputs.shape[1], sum(network.features.values())
    if actual != stated:
        raise UsageError(
            f"{type(network.network).__name__} gives features {actual} long, and its heads are {stated} wide: give the "
            "architecture a method feature_lengths(), see mdpr_fastreid/inference/folding.py"
        )


def check_export(path: Path | str, file_format: str) -> None:
    """Refuse what :func:`export` could not do, before long work.

    Raises:
        UsageError: as there.
    """
    if file_format not in FORMATS:
        raise UsageError(f"unknown format {file_format!r}: give one of {', '.join(FORMATS)}")
    needed = ("onnx", "onnxscript", "onnxruntime") if file_format == "onnx" else ()
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise UsageError(f"the format onnx needs {', '.join(missing)}: pip install {' '.join(needed)}")
    path = Path(path)
    if file_format == "torch-export" and path.suffix != ".pt2":
        raise UsageError(f"{path}: torch.export.load wants a name that ends in .pt2")
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the path of a file")
    need_place(path)


def _images(batch: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(batch)) * 255


def _write_torchscript(network: nn.Module, images: torch.Tensor, about: dict[str, str], file: BinaryIO) -> None:
    # Not strict: a network may give a dict, whose keys are fixed
    traced = torch.jit.trace(network, images, strict=False)
    torch.jit.save(traced, file, _extra_files={METADATA_FILE: json.dumps(about)})


def _read_torchscript(content: bytes) -> Run:
    return torch.jit.load(io.BytesIO(content), map_location="cpu")


def _write_torch_export(network: nn.Module, images: torch.Tensor, about: dict[str, str], file: BinaryIO) -> None:
    # Not strict is the default from PyTorch 2.8 on: before, Dynamo reads the code, which it does not all know
    dynamic = {"images": {0: torch.export.Dim("batch")}}
    program = torch.export.export(network, (images,), dynamic_shapes=dynamic, strict=False)
    torch.export.save(program, file, extra_files={METADATA_FILE: json.dumps(about)})


def _read_torch_export(content: bytes) -> Run:
    return torch.export.load(io.BytesIO(content)).module()


def _write_onnx(network: nn.Module, images: torch.Tensor, about: dict[str, str], file: BinaryIO) -> None:
    logging.getLogger("onnxscript").setLevel(logging.WARNING)
    with attention_for_onnx(network):
        program = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            dynamic_shapes={"images": {0: "batch"}},
            input_names=["images"],
            output_names=list(_by_name(network(images))),
            verbose=False,
        )
    program.model.metadata_props.update(about)
    file.write(program.model_proto.SerializeToString())


def _read_onnx(content: bytes) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = session.run(names, {"images": np.ascontiguousarray(images.numpy())})
        return {name: torch.from_numpy(output) for name, output in zip(names, outputs, strict=True)}

    return run


FORMATS = {
    "onnx": (_write_onnx, _read_onnx),
    "torchscript": (_write_torchscript, _read_torchscript),
    "torch-export": (_write_torch_export, _read_torch_export),
}
"""What writes and what reads each format."""
