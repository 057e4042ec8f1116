"""Miniature data sets: small pictures, all different, under the names a test asks for."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def write_images(folder: Path, names: Iterable[str], size: tuple[int, int] = (16, 32), seed: int = 0) -> list[Path]:
    """Write one picture of ``size`` (width, height) under each name (a path within ``folder``); returns the paths."""
    rng = np.random.default_rng(seed)
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return paths


def pictures_of_all_sizes(folder: Path, count: int) -> list[tuple[str, str, str]]:
    """Write pictures of 20 to 69 pixels a side; returns them as items (file, identity, camera) of four identities."""
    rng = np.random.default_rng(0)
    items = [(str(folder / f"{number}.png"), f"synth_{number % 4}", "synth_c1") for number in range(count)]
    for path, _, _ in items:
        Image.fromarray(rng.integers(0, 256, (*rng.integers(20, 70, 2), 3), dtype=np.uint8)).save(path)
    return items


def market_tree(folder: Path, train: int = 2, test: int = 2, cameras: int = 2, images: int = 2) -> Path:
    """A set in Market-1501's layout: ``images`` a camera of each identity; train 1.., test from 101 on."""

    def names(part: str, first: int, count: int, numbers: range) -> list[str]:
        return [
            f"{part}/{pid:04d}_c{camera}s1_{number:06d}_00.png"
            for pid in range(first, first + count)
            for camera in range(1, cameras + 1)
            for number in numbers
        ]

    parts = [
        names("bounding_box_train", 1, train, range(images)),
        names("query", 101, test, range(1)),
        names("bounding_box_test", 101, test, range(1, images)),
    ]
    write_images(folder, [name for part in parts for name in part])
    return folder
