"""The picture under way and the few shapes that everything is drawn with, edges smoothed by their coverage."""

from math import sqrt
from typing import NamedTuple

import numpy as np

PARTS = ("background", "hair", "face", "upper", "arms", "lower", "legs", "shoes", "bag")
"""What the values of a mask mean. ``arms`` and ``legs`` are bare skin, ``hair`` includes a hat."""
HAIR, FACE, UPPER, ARMS, LOWER, LEGS, SHOES, BAG = range(1, 9)

_HALF, _ONE = np.float32(0.5), np.float32(1)


class Light(NamedTuple):
    """Where light comes from: ``side`` (-1 left to 1 right), ``front`` share, and how much is ``ambient``."""

    side: float
    front: float
    ambient: float


class Tube(NamedTuple):
    """A body of elliptic section about an axis on the screen, in pixels.

    ``start`` and ``end`` are ``(x, y)``; ``radii [K]`` is the half width along the axis; ``texture [T, A, 3]`` runs
    down the axis and around it, its middle column being the front; ``turn`` (radians) says how far the front is
    turned from the viewer. A ``texture [3]`` is one colour all over. ``parts`` is one mask value or a map ``[T, A]``
    of them.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    radii: np.ndarray
    texture: np.ndarray
    turn: float
    parts: int | np.ndarray
    depth: float


class Canvas:
    """A picture ``rgb`` (float32 ``[H, W, 3]``, 0 to 1) with its mask ``parts`` (uint8 ``[H, W]``)."""

    def __init__(self, rgb: np.ndarray):
        self.rgb = rgb
        self.height, self.width = rgb.shape[:2]
        self.parts = np.zeros((self.height, self.width), dtype=np.uint8)

    def _window(self, x0: float, y0: float, x1: float, y1: float):
        """The rows and columns that a box touches and the centres of their pixels, or None."""
        left, right = max(0, int(x0 - 1)), min(self.width, int(x1 + 2))
        top, bottom = max(0, int(y0 - 1)), min(self.height, int(y1 + 2))
        if left >= right or top >= bottom:
            return None
        xs = np.arange(left, right, dtype=np.float32) + _HALF
        ys = np.arange(top, bottom, dtype=np.float32)[:, None] + _HALF
        return (slice(top, bottom), slice(left, right)), xs, ys

    def _lay(self, window, cover: np.ndarray, colour: np.ndarray, parts) -> None:
        under = self.rgb[window]
        under += cover[..., None] * (colour - under)
        seen = cover > _HALF
        self.parts[window][seen] = parts if isinstance(parts, int) else parts[seen]

    def tube(self, tube: Tube, light: Light, folds: np.ndarray, hidden: bool = False) -> None:
        """Draw a tube with cylinder shading. ``folds [T, A]`` scales the texture; ``hidden`` masks it as background."""
        (ax, ay), (bx, by), radii = tube.start, tube.end, tube.radii
        widest = float(radii.max())
        found = self._window(min(ax, bx) - widest, min(ay, by) - widest, max(ax, bx) + widest, max(ay, by) + widest)
        if found is None:
            return
        window, xs, ys = found
        length = max(sqrt((bx - ax) * (bx - ax) + (by - ay) * (by - ay)), 0.5)
        ux, uy = np.float32((bx - ax) / length), np.float32((by - ay) / length)
        dx, dy = xs - np.float32(ax), ys - np.float32(ay)
        along = dx * ux + dy * uy
        across = dx * uy - dy * ux
        down = along * np.float32(1 / length)
        np.minimum(np.maximum(down, 0, out=down), np.float32(0.9999), out=down)
        radius = radii.take((down * np.float32(len(radii))).astype(np.int32))
        cover = np.minimum(radius - np.abs(across), np.minimum(along, np.float32(length) - along)) + _HALF
        np.minimum(np.maximum(cover, 0, out=cover), _ONE, out=cover)
        side = across / np.maximum(radius, _HALF)
        np.minimum(np.maximum(side, -_ONE, out=side), _ONE, out=side)
        square = side * side
        rows, columns = folds.shape
        # A cubic that agrees with the arc sine at 0 and at the rims.
        angle = side * (_ONE + np.float32(0.5708) * square) * np.float32(1 / 6.283185307)
        turned = angle + np.float32(0.5 - tube.turn / 6.283185307 + 8)
        turned -= np.floor(turned)
        index = (down * np.float32(rows)).astype(np.int32) * columns + np.minimum(
            (turned * np.float32(columns)).astype(np.int32), columns - 1
        )
        shade = np.sqrt(_ONE - square) * np.float32(light.front) + side * np.float32(light.side)
        shade = (np.maximum(shade, 0) * np.float32(1 - light.ambient) + np.float32(light.ambient)) * folds.take(index)
        colour = tube.texture if tube.texture.ndim == 1 else tube.texture.reshape(-1, 3).take(index, axis=0)
        parts = tube.parts if isinstance(tube.parts, int) else tube.parts.take(index)
        self._lay(window, cover, colour * shade[..., None], 0 if hidden else parts)

    def box(
        self, x0: float, y0: float, x1: float, y1: float, colour, shade: float = 0.0, strength: float = 1.0
    ) -> None:
        """Draw an upright box; ``shade`` darkens it from the left edge to the right one."""
        found = self._window(x0, y0, x1, y1)
        if found is None or x1 <= x0 or y1 <= y0:
            return
        window, xs, ys = found
        wide = np.minimum(xs - np.float32(x0), np.float32(x1) - xs) + _HALF
        tall = np.minimum(ys - np.float32(y0), np.float32(y1) - ys) + _HALF
        cover = np.clip(wide, 0, 1) * np.clip(tall, 0, 1) * np.float32(strength)
        fade = _ONE - np.float32(shade) * (xs - np.float32(x0)) / np.float32(x1 - x0)
        self._lay(window, cover, np.asarray(colour, dtype=np.float32) * fade[None, :, None], 0)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour, rim: float = 0.0) -> None:
        """Draw an ellipse lit from above, or with ``rim`` (pixels) only its outline."""
        found = self._window(x - rx, y - ry, x + rx, y + ry)
        if found is None:
            return
        window, xs, ys = found
        down = (ys - np.float32(y)) / np.float32(max(ry, 0.5))
        inside = (_ONE - _away(xs, ys, x, y, rx, ry)) * np.float32(min(rx, ry))
        if rim:
            inside = np.minimum(inside, np.float32(rim) - inside)
        cover = np.clip(inside + _HALF, 0, 1)
        self._lay(window, cover, np.asarray(colour, dtype=np.float32) * (_ONE - np.float32(0.25) * down)[..., None], 0)

    def shadow(self, x: float, y: float, rx: float, ry: float, strength: float) -> None:
        """Darken an ellipse, most at its middle; what lies there stays what it is in the mask."""
        found = self._window(x - rx, y - ry, x + rx, y + ry)
        if found is None:
            return
        window, xs, ys = found
        away = np.minimum(_away(xs, ys, x, y, rx, ry), _ONE)
        self.rgb[window] *= _ONE - (_ONE - away * away)[..., None] * np.float32(strength)


def _away(xs: np.ndarray, ys: np.ndarray, x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Distance from the middle of an ellipse, 1 at its rim."""
    dx, dy = (xs - np.float32(x)) / np.float32(max(rx, 0.5)), (ys - np.float32(y)) / np.float32(max(ry, 0.5))
    return np.sqrt(dx * dx + dy * dy)
