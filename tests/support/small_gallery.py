"""A gallery of pictures in memory that is searched as a store is: for tests of what asks a store."""

from collections import namedtuple
from pathlib import Path

import numpy as np
from PIL import Image

Model = namedtuple("Model", "dim")
Hit = namedtuple("Hit", "name score camera time identity path")
CAMERAS = ("1", "2", "")
HOSTILE = "${window.hacked=1}{{value}}"
"""In the names of the files: what a page that fills in templates would run."""


def embed(picture: Image.Image) -> np.ndarray:
    """The picture itself, tiny: pictures that look alike have vectors that are alike."""
    return np.asarray(picture.convert("RGB").resize((2, 4)), dtype=np.float32).ravel() - 127


def look(pictures) -> list[dict[str, np.ndarray]]:
    """Two maps: the upper half, and the left one."""
    upper, left = np.zeros((8, 4), dtype=np.float32), np.zeros((8, 4), dtype=np.float32)
    upper[:4], left[:, :2] = 1, 1
    return [{"attention4_1": upper, "stripes": left} for _ in pictures]


def write_people(folder: Path, people: int = 6, images: int = 4) -> list[Path]:
    """Pictures of people, each of colours of his own, a little different in each picture."""
    rng = np.random.default_rng(0)
    paths = []
    for person in range(people):
        colours = rng.integers(30, 226, (4, 2, 3))
        for number in range(images):
            noisy = np.clip(colours + rng.integers(-12, 13, colours.shape), 0, 255).astype(np.uint8)
            path = folder / f"p{person}" / f"{number} <i>{HOSTILE}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noisy).resize((48, 96), Image.Resampling.NEAREST).save(path)
            paths.append(path)
    return paths


class SmallGallery:
    """Brute force over the pictures of a folder; each next one is of the next of ``CAMERAS``."""

    def __init__(self, root: Path, paths: list[Path]) -> None:
        self.names = [path.relative_to(root).as_posix() for path in paths]
        self.paths = {name: str(path) for name, path in zip(self.names, paths, strict=True)}
        self.camera = {name: CAMERAS[number % len(CAMERAS)] for number, name in enumerate(self.names)}
        vectors = np.stack([embed(Image.open(path)) for path in paths])
        self._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self.model = Model(vectors.shape[1])

    def search(self, vectors, top, *, cameras=None, without_cameras=None, since=None, until=None):
        found = []
        for number, vector in enumerate(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)):
            without = without_cameras[number] if without_cameras else ()
            scores = self._vectors @ vector
            names = [
                (float(score), name)
                for score, name in zip(scores, self.names, strict=True)
                if (cameras is None or self.camera[name] in cameras) and self.camera[name] not in without
            ]
            ordered = sorted(names, key=lambda pair: -pair[0])[:top]
            found.append([Hit(n, s, self.camera[n], float("nan"), "", self.paths[n]) for s, n in ordered])
        return found

    def vectors(self, names):
        return np.stack([self._vectors[self.names.index(name)] for name in names])

    def count(self):
        return len(self.names)

    def cameras(self):
        return sorted(set(self.camera.values()))
