"""Whom to search for: images, folders of images, or embeddings of them."""

import os
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from mdpr_fastreid.data.reading import read_image
from mdpr_fastreid.embedding import Embeddings, ModelId
from mdpr_fastreid.embedding.batches import batches_of, default_workers
from mdpr_fastreid.embedding.facts import camera_of, find_images
from mdpr_fastreid.embedding.networks import EmbeddingNetwork
from mdpr_fastreid.errors import UsageError


class Queries(NamedTuple):
    """``Q`` images to search for."""

    paths: list[str]
    cameras: list[str]
    """Empty where it is not known."""
    vectors: np.ndarray
    """``[Q, D]`` float32."""
    damaged: list[str]
    """A line for each file that could not be read; none of these is a query."""


def is_embedded(word: str) -> bool:
    """Whether a query of the command line is a file of embeddings."""
    return word.endswith(".npz") and not os.path.isdir(word)


def read_queries(paths: Sequence[str], model: ModelId, where: str) -> Queries:
    """The queries of files of embeddings.

    Args:
        paths: of ``.npz`` files.
        model: of the gallery.
        where: the gallery, for the error.

    Raises:
        UsageError: a file cannot be read, or has embeddings of another model.
    """
    files = [Embeddings.read(path) for path in paths]
    for path, file in zip(paths, files, strict=True):
        file.model.check_same(model, path, where)
    return Queries(
        [file.path(row) for file in files for row in range(len(file))],
        [str(camera) for file in files for camera in file.cameras],
        np.concatenate([file.vectors for file in files]),
        [],
    )


def embed_queries(network: EmbeddingNetwork, words: Sequence[str], camera_pattern: str = "") -> Queries:
    """The queries of image files and folders, embedded.

    Args:
        network: of the gallery's model.
        words: paths of images, or of folders of images.
        camera_pattern: as of :func:`mdpr_fastreid.embedding.facts.find_images`.

    Raises:
        UsageError: a path does not exist, or the model gives several outputs.
    """
    images = [image for word in words for image in _images_of(word, camera_pattern)]
    reads = (partial(read_image, path) for path, _ in images)
    vectors, damaged = [np.empty((0, network.model_id.dim), np.float32)], {}
    batches = batches_of(reads, network.resize, network.batch_size, default_workers())
    for number, (pixels, broken) in enumerate(batches):
        damaged |= {number * network.batch_size + place: str(error) for place, error in broken}
        outputs = None if pixels is None else network(pixels)
        if isinstance(outputs, dict):
            raise UsageError("a model of several outputs is compared by a distance of its own, not in a store")
        if outputs is not None:
            vectors.append(outputs.numpy())
    whole = [image for row, image in enumerate(images) if row not in damaged]
    paths, cameras = ([image[column] for image in whole] for column in range(2))
    return Queries(paths, cameras, np.concatenate(vectors), list(damaged.values()))


def _images_of(word: str, camera_pattern: str) -> list[tuple[str, str]]:
    """(path, camera) of an image, or of each in a folder."""
    if os.path.isdir(word):
        images = find_images(word, camera_pattern)
        return [(images.path(row), str(images.cameras[row])) for row in range(len(images))]
    if not os.path.exists(word):
        raise UsageError(f"{word}: no such image or folder to search for")
    return [(os.path.abspath(word), camera_of(word, camera_pattern))]
