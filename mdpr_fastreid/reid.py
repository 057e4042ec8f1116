"""A trained model to be used: from images to embeddings, distances and rank lists."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from fastreid.config import CfgNode

from mdpr_fastreid.embedding.batches import batches_of, default_workers
from mdpr_fastreid.embedding.inputs import reads_of
from mdpr_fastreid.embedding.loading import load_network
from mdpr_fastreid.embedding.model_id import ModelId
from mdpr_fastreid.embedding.networks import EmbeddingNetwork
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.evaluation.outputs import GrowingOutputs, Outputs
from mdpr_fastreid.progress import Progress

_SECONDS_WITHOUT_BAR = 3.0

Vectors = np.ndarray | dict[str, np.ndarray]
"""float32 ``[N, D]``, or an array of ``N`` rows by name, of a model that gives several outputs."""


class RankList(NamedTuple):
    """The nearest gallery images of each query, nearest first."""

    indices: np.ndarray
    """int64 ``[Q, top]``, rows of the gallery."""
    distances: np.ndarray
    """float32 ``[Q, top]``."""


class ReID:
    """A trained model of this plugin's or of FastReID's; :meth:`load` makes it."""

    def __init__(self, network: EmbeddingNetwork, as_trained: Callable[[], EmbeddingNetwork] | None = None) -> None:
        self._network = network
        self._load_as_trained = as_trained
        self._as_trained: EmbeddingNetwork | None = None

    @classmethod
    def load(
        cls,
        source: str | os.PathLike | CfgNode,
        weights: str | os.PathLike | None = None,
        *,
        device: str | None = None,
        precision: str | None = None,
        folded: bool | None = None,
        overrides: Sequence = (),
        imports: Sequence[str] = (),
    ) -> "ReID":
        """A model by what a training left behind.

        Args:
            source: a run's folder (then the weights are ``model_best.pth``, or else those of the end); a config, by
                path, by the name of one of ours (``MDPR/duke_r50.yml``) or as it is; or an ``.onnx`` file of ``mdpr
                export``.
            weights: the weight file; needed with a config, unless its ``MODEL.WEIGHTS`` names one.
            device: ``cpu``, ``cuda``, ``cuda:1``; by default ``MODEL.DEVICE``, or the CPU where that is not there.
            precision: ``float32``, ``bfloat16`` or ``float16``; by default ``TEST.AMP``, which is float32.
            folded: whether the network is folded, see :func:`mdpr_fastreid.inference.fold`; by default as
                ``TEST.FOLDED`` says, which is where it can be.
            overrides: ``KEY, VALUE, ...`` on top of the config.
            imports: modules that register what the config names.

        Raises:
            UsageError: the model cannot be found, read or built, or the weights do not fit.
        """
        load = partial(load_network, source, weights, device=device, overrides=overrides, imports=imports)
        network = load(precision=precision, folded=folded)
        return cls(network, None if network.module is None else partial(load, precision="float32", folded=False))

    def __repr__(self) -> str:
        height, width = self.size
        return f"ReID({self._network.description}: images {height}x{width} -> {self.dim} numbers)"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that images are resized to."""
        return self._network.model_id.size

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._network.model_id.dim

    @property
    def about(self) -> ModelId:
        """Which model this is: with what its embeddings can be compared."""
        return self._network.model_id

    @property
    def network(self) -> EmbeddingNetwork:
        """What computes, a batch of pixels at a time."""
        return self._network

    def embed(
        self, images: Any, *, bgr: bool = False, batch_size: int | None = None, workers: int | None = None
    ) -> Vectors:
        """Embeddings of images: what an evaluation computes for them, bit for bit on a CPU if batches are the same.

        Images are turned as their EXIF says, resized as in an evaluation, and read by threads while the network
        computes. With another ``batch_size`` the last digits may differ, as libraries sum up in another order.

        Args:
            images: a path; a folder, for all images in it, sorted by path; a PIL image; a NumPy array in uint8, ``[H,
                W, 3]``, ``[N, H, W, 3]`` or ``[H, W]`` (grey); a tensor ``[3, H, W]`` or ``[N, 3, H, W]``, in uint8,
                or in floating point from 0 to 255 and of the model's ``size``; or an iterable of these, which may be a
                generator.
            bgr: whether arrays and tensors have their colours in OpenCV's order; otherwise in RGB.
            batch_size: images at a time; by default ``TEST.IMS_PER_BATCH``.
            workers: threads that read; by default one for each processor, four at most; 0 for none.

        Returns:
            float32 ``[N, D]`` in the order given. Of a model that gives several outputs, a dict of arrays with ``N``
            rows.

        Raises:
            UsageError: an image cannot be read (then it is a ``DamagedImageError``), what is given is no image, or
                there is none.
        """
        batch_size = self._network.batch_size if batch_size is None else _at_least("batch_size", batch_size, 1)
        workers = default_workers() if workers is None else _at_least("workers", workers, 0)
        reads = reads_of(images, bgr)
        total = len(reads) if isinstance(reads, list) else None
        found = GrowingOutputs()
        with closing(Progress(total, "embedding", delay=_SECONDS_WITHOUT_BAR)) as progress:
            for pixels, damaged in batches_of(reads, self._network.resize, batch_size, workers):
                if damaged:
                    raise damaged[0][1]
                found.add(self._network(pixels))
                progress.step(steps=len(pixels))
        if not len(found):
            raise UsageError("there is no image to embed")
        outputs = found.outputs()
        return {k: v.numpy() for k, v in outputs.items()} if isinstance(outputs, dict) else outputs.numpy()

    def distances(self, query: Any, gallery: Any) -> np.ndarray:
        """Distances, by what the model is evaluated with: cosine, from 0 to 2, unless it has one of its own.

        Args:
            query: what :meth:`embed` gave, or images as it takes them.
            gallery: the same.

        Returns:
            float32 ``[Q, G]``.

        Raises:
            UsageError: as :meth:`embed`.
            ValueError: vectors of another length, of none, or with values that are not finite. Vectors of another
                model of the same length cannot be told from this one's.
        """
        query, gallery = self._outputs(query), self._outputs(gallery)
        return self._network.distances(query, gallery).numpy()

    def rank(self, query: Any, gallery: Any, top: int | None = None, rerank: bool = False) -> RankList:
        """The gallery in the order of its distances from each query.

        Args:
            query: what :meth:`embed` gave, or images as it takes them.
            gallery: the same.
            top: how many for each query; by default all.
            rerank: whether distances are re-ranked by k-reciprocal neighbours, as with ``TEST.RERANK`` (k1 20, k2 6,
                lambda 0.3).

        Raises:
            UsageError: as :meth:`embed`, or ``top`` is no number of at least 1.
            ValueError: as :meth:`distances`.
        """
        query, gallery = self._outputs(query), self._outputs(gallery)
        top = None if top is None else _at_least("top", top, 1)
        distances = self._network.rerank(query, gallery) if rerank else self._network.distances(query, gallery)
        count = distances.shape[1] if top is None else min(top, distances.shape[1])
        values, indices = distances.sort(dim=1, stable=True)
        return RankList(indices[:, :count].numpy(), values[:, :count].numpy())

    def attention(self, image: Any, *, bgr: bool = False) -> dict[str, np.ndarray]:
        """Where the model looks in an image: see :func:`mdpr_fastreid.inference.attention.attention_maps`.

        The first call loads the network once more, as it was trained, since folding takes attention away.

        Args:
            image: one, as :meth:`embed` takes it.
            bgr: as there.

        Returns:
            float32 ``[h, w]`` in [0, 1] by the maps' names, at the resolution of the network's feature maps.

        Raises:
            UsageError: as :meth:`embed`; it is not one image; the model has no maps, or is an exported file.
        """
        reads = list(reads_of(image, bgr))
        if len(reads) != 1:
            raise UsageError(f"attention is of one image at a time, got {len(reads)}")
        if self._load_as_trained is not None and self._as_trained is None:
            self._as_trained = self._load_as_trained()
        network = self._as_trained or self._network
        return network.maps(network.resize(reads[0]())[None])[0]

    def _outputs(self, given: Any) -> Outputs:
        vectors = given if _are_vectors(given) else self.embed(given)
        if isinstance(vectors, dict):
            return {name: _as_tensor(value) for name, value in vectors.items()}
        if vectors.shape[1] != self.dim:
            raise ValueError(f"vectors are {vectors.shape[1]} long, and this model's {self.dim}")
        return _as_tensor(vectors)


def _as_tensor(values: np.ndarray | torch.Tensor) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values
    # PyTorch takes neither negative strides nor, without a warning, what cannot be written
    return torch.from_numpy(np.require(values, requirements=("C", "W")))


def _are_vectors(given: Any) -> bool:
    if isinstance(given, dict):
        return True
    if isinstance(given, (np.ndarray, torch.Tensor)) and given.ndim == 1:
        raise ValueError(f"vectors must be [N, D], got {list(given.shape)}: give one as vector[None]")
    if isinstance(given, (str, os.PathLike)) and os.fspath(given).endswith((".npz", ".faiss")):
        raise UsageError(
            f"{given} holds embeddings: mdpr_fastreid.embedding.Embeddings.read(...).vectors gives those of an .npz "
            "file, mdpr_fastreid.search.open_store(...) searches either"
        )
    if isinstance(given, np.ndarray):
        return given.ndim == 2 and given.dtype.kind == "f"
    return isinstance(given, torch.Tensor) and given.ndim == 2 and given.is_floating_point()


def _at_least(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)
