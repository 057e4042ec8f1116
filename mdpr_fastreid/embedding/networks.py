"""What computes embeddings: a network of PyTorch's, or an exported file in ONNX Runtime."""

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import nn

from mdpr_fastreid.data.transforms import build_transforms
from mdpr_fastreid.embedding.batches import Resize
from mdpr_fastreid.embedding.model_id import ModelId
from mdpr_fastreid.errors import UsageError, is_out_of_memory, one_line, printable
from mdpr_fastreid.evaluation.distance_registry import find_distance
from mdpr_fastreid.evaluation.outputs import Distance, Outputs, kept_on_cpu
from mdpr_fastreid.evaluation.pairwise import distances_of
from mdpr_fastreid.evaluation.reranking import blended_distances, rerank_by
from mdpr_fastreid.inference.attention import attention_maps
from mdpr_fastreid.inference.export import FEATURES, image_size
from mdpr_fastreid.modeling.brought import brought_by
from mdpr_fastreid.weights import sha256_of


class EmbeddingNetwork:
    """Pixels to what a model gives of them, with everything that a caller has to know.

    Args:
        run: from pixels ``[B, 3, H, W]``, RGB, 0 to 255 on the CPU, in uint8 or float32, to outputs of ``B`` rows.
        resize: from a picture to such pixels, as an evaluation has them.
        model_id: which model it is; its ``dim`` is filled in by running it on one image.
        own_distance: of two outputs, where the model brings one along.
        batch_size: images at a time in an evaluation.
        module: the network itself, where it is one of PyTorch's.
        description: what runs where, in a line.
    """

    def __init__(
        self,
        run: Callable[[torch.Tensor], Outputs],
        resize: Resize,
        model_id: ModelId,
        own_distance: Distance | None,
        batch_size: int,
        module: nn.Module | None,
        description: str,
    ) -> None:
        self.run, self.resize, self.model_id, self.own_distance = run, resize, model_id, own_distance
        self.batch_size, self.module, self.description = batch_size, module, description

    def __call__(self, pixels: torch.Tensor) -> Outputs:
        """Outputs of a batch on the CPU, in float32.

        Raises:
            UsageError: there is no memory for so many images.
        """
        try:
            with torch.inference_mode():
                return kept_on_cpu(self.run(pixels), len(pixels))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UsageError(
                f"there is no memory for {len(pixels)} images at a time: give a smaller batch size"
            ) from error

    def maps(self, pixels: torch.Tensor) -> list[dict[str, np.ndarray]]:
        """Where the network looks in each image, ``[h, w]`` by the names of the maps.

        Args:
            pixels: ``[B, 3, H, W]``, RGB, 0 to 255.

        Raises:
            UsageError: the network is folded, or an exported file, or has no maps.
        """
        if self.module is None:
            raise UsageError("an exported file has no maps any more: give the training's folder, or config and weights")
        device = next(self.module.parameters()).device
        maps = attention_maps(self.module, pixels.to(device).float())
        return [{name: values[row] for name, values in maps.items()} for row in range(len(pixels))]

    def distances(self, query: Outputs, gallery: Outputs) -> torch.Tensor:
        """``[Q, G]`` float32 of outputs of two groups of images, as an evaluation compares them."""
        distance = self.own_distance or find_distance(self.model_id.distance)
        return torch.as_tensor(distances_of(distance, query, gallery)).float()

    def rerank(self, query: Outputs, gallery: Outputs) -> torch.Tensor:
        """The same, re-ranked as an evaluation does with ``TEST.RERANK``."""
        if self.own_distance is not None:
            return rerank_by(self.own_distance, query, gallery)
        return blended_distances(query, gallery, self.model_id.distance)


def network_of(cfg: CfgNode, weights: str, network: nn.Module, source: str) -> EmbeddingNetwork:
    """A loaded network with the transforms and the distance of its config.

    Args:
        cfg: what it was built with.
        weights: the file its weights came from.
        network: in evaluation mode.
        source: what :meth:`mdpr_fastreid.ReID.load` was given.

    Raises:
        SettingsError: the config leaves the size of an image open.
    """
    size = tuple(cfg.INPUT.CROP.SIZE) if cfg.INPUT.CROP.ENABLED else image_size(cfg)
    size = size * 2 if len(size) == 1 else size
    parameter = next(network.parameters(), None)
    device = torch.device(cfg.MODEL.DEVICE) if parameter is None else parameter.device
    metric = cfg.TEST.METRIC if cfg.TEST.METRIC in ("cosine", "euclidean") else "cosine"

    def run(pixels: torch.Tensor) -> Outputs:
        return network(pixels.to(device, non_blocking=True).float())

    features = tuple(getattr(network, "features", {}).items())
    model_id = ModelId(sha256_of(weights), size, 1, features, metric, source, weights)
    kind = "folded" if hasattr(network, "features") else "as trained"
    # TEST.FOLDED's network holds its weights in the precision that it computes in
    precision = str(_precision(network)).removeprefix("torch.")
    description = f"{cfg.MODEL.META_ARCHITECTURE} of {weights}, {kind}, {precision} on {device}"
    made = EmbeddingNetwork(
        run,
        Resize(build_transforms(_images_only(cfg), is_train=False), size),
        model_id,
        brought_by(network).get("distance"),
        cfg.TEST.IMS_PER_BATCH,
        network,
        description,
    )
    return _measured(made)


def _precision(network: nn.Module) -> torch.dtype:
    types = {p.dtype for p in network.parameters() if p.ndim == 4} or {torch.float32}
    return min(types, key=lambda dtype: dtype.itemsize)


def _images_only(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.FIELDS = ()
    return cfg


def _measured(network: EmbeddingNetwork) -> EmbeddingNetwork:
    """The network, its ``model_id`` with the length of what it gives of an image of one colour."""
    size = network.model_id.size
    outputs = network(torch.full((1, 3, *size), 127, dtype=torch.uint8))
    if isinstance(outputs, dict):
        parts = tuple((name, int(np.prod(value.shape[1:]))) for name, value in outputs.items())
        dim = sum(length for _, length in parts)
    else:
        parts, dim = network.model_id.features, outputs.shape[1]
    fields = {**network.model_id.to_dict(), "features": parts, "dim": dim}
    network.model_id = ModelId.from_dict(fields)
    return network


def onnx_network(path: str | os.PathLike, device: str | None) -> EmbeddingNetwork:
    """An exported file in ONNX Runtime.

    Args:
        path: what ``mdpr export --format onnx`` wrote.
        device: ``cpu``, or ``cuda`` where ONNX Runtime has it; by default CUDA if it is there.

    Raises:
        UsageError: ONNX Runtime is not installed or cannot read the file, or the file does not say what it is.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise UsageError(f"{path} needs ONNX Runtime: pip install onnxruntime")
    import onnxruntime

    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    available = onnxruntime.get_available_providers()
    on_cuda = "CUDAExecutionProvider" in available if device is None else str(device).startswith("cuda")
    if on_cuda and "CUDAExecutionProvider" not in available:
        raise UsageError(f"this ONNX Runtime has no CUDA ({', '.join(available)}): pip install onnxruntime-gpu")
    providers = ["CUDAExecutionProvider"] * on_cuda + ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(str(path), providers=providers)
    except Exception as error:  # of types of its own, which its stubs do not name
        raise UsageError(f"{path}: ONNX Runtime cannot read it: {one_line(error)[:300]}") from None
    about = session.get_modelmeta().custom_metadata_map
    model_id, scale = _id_of_onnx(path, about)
    names = [output.name for output in session.get_outputs()]

    def run(pixels: torch.Tensor) -> Outputs:
        images = scale(pixels.float().numpy())
        outputs = [torch.from_numpy(output) for output in session.run(names, {"images": images})]
        return outputs[0] if names == [FEATURES] else dict(zip(names, outputs, strict=True))

    where = "CUDA" if on_cuda else "CPU"
    network = EmbeddingNetwork(
        run,
        _resize_of_onnx(model_id.size),
        model_id,
        None,
        64,
        None,
        f"{printable(about.get('architecture', 'a network'))} of {path}, in ONNX Runtime on {where}",
    )
    return _measured(network)


def _resize_of_onnx(size: tuple[int, int]) -> Resize:
    from fastreid.config import get_cfg

    cfg = get_cfg()
    cfg.INPUT.SIZE_TEST = list(size)
    return Resize(build_transforms(cfg, is_train=False), size)


def _id_of_onnx(path: Path, about: Mapping[str, str]) -> tuple[ModelId, Callable[[np.ndarray], np.ndarray]]:
    """Which model the file says it is, and how pixels become its input."""
    try:
        height, width = json.loads(about["input_size"])
        features = tuple((str(name), int(length)) for name, length in json.loads(about["features"]).items())
        mean, std = (np.array(json.loads(about[key]), np.float32) for key in ("pixel_mean", "pixel_std"))
        weights = about["weights_sha256"]
        model_id = ModelId.from_dict({"weights": weights, "size": (height, width), "dim": 1, "features": features})
        normalized = json.loads(about.get("normalized", "false"))
    except (KeyError, ValueError, TypeError, AttributeError, UsageError) as error:
        raise UsageError(
            f"{path}: does not say what its input is ({type(error).__name__}: {error}); `mdpr export` writes files "
            "that do"
        ) from None

    def scale(pixels: np.ndarray) -> np.ndarray:
        if not normalized:
            return np.ascontiguousarray(pixels)
        return np.ascontiguousarray((pixels - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1))

    fields: dict[str, Any] = {**model_id.to_dict(), "source": str(path.absolute())}
    return ModelId.from_dict(fields), scale
