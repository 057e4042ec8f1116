"""Miniature tracklets: frames of one grey level each, so that a clip shows which frames it has."""

from pathlib import Path

from PIL import Image

from mdpr_fastreid.data import Item


def frame(path: Path, level: int, size: tuple[int, int] = (16, 32)) -> str:
    """Write a picture of ``size`` (width, height); returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level,) * 3).save(path)
    return str(path)


def tracklets(folder: Path, lengths: list[int], identities: int = 2, cameras: int = 2) -> list[Item]:
    """A tracklet of each length; the levels of frames are 0, 1, ... through all of them.

    Tracklet i is of identity ``pid{i mod identities}``, under camera ``cam{i // identities mod cameras}``.
    """
    items, level = [], 0
    for number, length in enumerate(lengths):
        frames = tuple(frame(folder / f"{number:02d}/{place:02d}.png", level + place) for place in range(length))
        pid, camera = f"pid{number % identities}", f"cam{number // identities % cameras}"
        items.append(Item(frames[0], pid, camera, {"clip": frames}))
        level += length
    return items


def levels(clips) -> list:
    """The levels of the frames of clips ``[..., T, 3, H, W]``."""
    return clips[..., 0, 0, 0].long().tolist()
