"""Embeddings of images that do not exist, and what a search of them must find."""

import numpy as np

from mdpr_fastreid.embedding import Embeddings, ModelId

MODEL = ModelId("a" * 64, (64, 32), 32)
OTHER = ModelId("b" * 64, (64, 32), 32)


def embeddings(
    count: int, seed: int = 0, prefix: str = "people", model: ModelId = MODEL, root: str = "/gallery"
) -> Embeddings:
    """Embeddings in clusters of ten, of six cameras of which one is not known; every tenth has no time."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(count)
    centres = rng.standard_normal((count // 10 + 1, model.dim))
    vectors = (centres[numbers // 10] + 0.5 * rng.standard_normal((count, model.dim))) * 3
    cameras = np.array(["c0", "c1", "c2", "c3", "c4", ""])[rng.integers(0, 6, count)]
    times = np.where(numbers % 10 == 3, np.nan, numbers.astype(float))
    names = np.array([f"{prefix}/{number:05d}.png" for number in numbers], dtype=str)
    identities = np.array([f"p{number // 10}" for number in numbers], dtype=str)
    return Embeddings(vectors.astype(np.float32), names, cameras, times, identities, model, root)


def queries_of(gallery: Embeddings, count: int) -> np.ndarray:
    """Vectors of further images of the people in a gallery, ``[count, D]``."""
    rng = np.random.default_rng(1)
    vectors = gallery.vectors[rng.choice(len(gallery), count)]
    return (vectors + rng.standard_normal(vectors.shape)).astype(np.float32)


def brute_force(
    gallery: Embeddings, queries: np.ndarray, top: int, *, cameras=None, without_cameras=None, since=None, until=None
) -> list[list[tuple[str, float]]]:
    """(name, cosine similarity) of what each query must find: the definitions, in float64, image by image."""
    known, results = gallery.vectors.astype(np.float64), []
    for number, query in enumerate(queries.astype(np.float64)):
        scores = known @ query / np.sqrt((known * known).sum(axis=1) * (query @ query))
        found = []
        for score, name, camera, time in zip(scores, gallery.names, gallery.cameras, gallery.times, strict=True):
            if cameras is not None and camera not in cameras:
                continue
            if without_cameras is not None and camera in without_cameras[number]:
                continue
            if since is not None and not time >= since:
                continue
            if until is not None and not time <= until:
                continue
            found.append((str(name), float(score)))
        results.append(sorted(found, key=lambda one: -one[1])[:top])
    return results
