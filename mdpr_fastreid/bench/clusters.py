"""Synthetic outputs of a model: clusters, one for each identity."""

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

_IMAGES_OF_AN_IDENTITY = 20
_SHARE_OF_ONES = 0.75
_KINDS = ("unit", "binary")


def random_identities(rng: np.random.Generator, count: int, per_identity: int = _IMAGES_OF_AN_IDENTITY) -> np.ndarray:
    """``[count]``, ``per_identity`` images each on average."""
    return rng.integers(0, max(1, count // per_identity), count)


def clustered_features(
    count: int, width: int, seed: int = 0, per_identity: int = _IMAGES_OF_AN_IDENTITY, noise: float = 1.0
) -> np.ndarray:
    """Normalised features ``[count, width]`` float32 around random centres, ``per_identity`` images each on average.

    ``noise`` is the size of what sets an image apart from its centre, beside that of the centre.
    """
    rng = np.random.default_rng(seed)
    identities = random_identities(rng, count, per_identity)
    centres = rng.standard_normal((identities.max() + 1, width), dtype=np.float32)
    features = rng.standard_normal((count, width), dtype=np.float32)
    for rows in np.array_split(np.arange(count), max(1, count // 1_000)):
        features[rows] = centres[identities[rows]] + noise * features[rows]
        features[rows] /= np.linalg.norm(features[rows], axis=1, keepdims=True)
    return features


class Output(NamedTuple):
    """One output of a model, of an image."""

    name: str
    shape: tuple[int, ...]
    kind: str = "unit"
    """``unit``: clustered, of length one along the last axis; ``binary``: 0 or 1, three quarters of them 1."""


def outputs_described(text: str) -> tuple[Output, ...]:
    """The outputs of a command line: ``embeddings=9x512,visibility=9:binary``.

    Raises:
        argparse.ArgumentTypeError: it is no such list.
    """
    found = [re.fullmatch(r"(\w+)=(\d+(?:x\d+)*)(?::(\w+))?", word.strip()) for word in text.split(",")]
    outputs = [Output(one[1], tuple(map(int, one[2].split("x"))), one[3] or "unit") for one in found if one]
    sound = len(outputs) == len(found) == len({one.name for one in outputs})
    if not sound or any(one.kind not in _KINDS or min(one.shape) < 1 for one in outputs):
        raise argparse.ArgumentTypeError(
            f"{text!r} describes no outputs: give NAME=SHAPE or NAME=SHAPE:binary, with commas between, such as "
            "embeddings=9x512,visibility=9:binary"
        )
    return tuple(outputs)


def clustered_outputs(
    outputs: Sequence[Output], identities: np.ndarray, seed: int = 0, batch: int = 64
) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of outputs, each ``[batch, *shape]`` float32, of images of these identities ``[N]``."""
    rng = np.random.default_rng(seed)
    people = identities.max() + 1
    centres = {one.name: rng.standard_normal((people, *one.shape), dtype=np.float32) for one in outputs}
    for start in range(0, len(identities), batch):
        of = identities[start : start + batch]
        arrays = {one.name: _of_batch(one, centres[one.name][of], rng) for one in outputs}
        yield {name: torch.from_numpy(array) for name, array in arrays.items()}


def _of_batch(output: Output, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if output.kind == "binary":
        return (rng.random(centres.shape, dtype=np.float32) < _SHARE_OF_ONES).astype(np.float32)
    vectors = centres + rng.standard_normal(centres.shape, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
