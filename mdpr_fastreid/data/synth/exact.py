"""Arithmetic that gives the same bits on every machine.

IEEE 754 fixes addition, subtraction, multiplication, division and the square root; it does not fix sine,
powers or the order of a vectorised sum, and libm and SIMD builds of NumPy differ there. The renderer therefore uses
the four operations, the square root, and what is built from them here. Random numbers come from the raw words of
PCG64, whose stream NumPy guarantees; the distributions of ``numpy.random.Generator`` carry no such guarantee.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")

PI = 3.141592653589793


def sine(angle: float) -> float:
    """Sine of an angle in radians, by its Taylor series to the 15th power (error under 1e-11)."""
    angle = angle - 2 * PI * round(angle / (2 * PI))
    if angle > PI / 2:
        angle = PI - angle
    elif angle < -PI / 2:
        angle = -PI - angle
    square = angle * angle
    total = 0.0
    for k in (15, 13, 11, 9, 7, 5, 3):
        total = (1.0 + total) * -square / (k * (k - 1))
    return angle * (1.0 + total)


def cosine(angle: float) -> float:
    """Cosine of an angle in radians."""
    return sine(angle + PI / 2)


def piecewise(points: Sequence[tuple[float, float]], samples: int) -> np.ndarray:
    """Sample the polyline through ``points`` (rising x from 0 to 1) at ``samples`` places. Returns ``[samples]``."""
    at = np.arange(samples, dtype=np.float32) / np.float32(samples - 1)
    values = np.full(samples, points[-1][1], dtype=np.float32)
    for (x0, y0), (x1, y1) in reversed(list(pairwise(points))):
        inside = at <= np.float32(x1)
        values[inside] = np.float32(y0) + (at[inside] - np.float32(x0)) * np.float32((y1 - y0) / max(x1 - x0, 1e-6))
    return values


class Stream:
    """Random numbers that depend on the key and on nothing else.

    Args:
        key: non-negative integers, e.g. ``(seed, split, identity, image)``.
    """

    def __init__(self, *key: int):
        # The length goes in because a seed sequence takes trailing zeros for nothing.
        self._bits = np.random.PCG64(np.random.SeedSequence((len(key), *key)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A float in ``[low, high)``."""
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) * 2.0**-53)

    def bell(self, centre: float = 0.0, spread: float = 1.0) -> float:
        """A float of mean ``centre``, within ``spread`` of it: the mean of three uniform draws."""
        return centre + spread * ((self.uniform(-1, 1) + self.uniform(-1, 1) + self.uniform(-1, 1)) / 3)

    def below(self, bound: int) -> int:
        """An integer in ``[0, bound)``."""
        return int(self.uniform() * bound)

    def chance(self, probability: float) -> bool:
        """True with ``probability``."""
        return self.uniform() < probability

    def choice(self, items: Sequence[Item]) -> Item:
        """One of ``items``, each as likely as the next."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """``items`` in random order (Fisher-Yates)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def octets(self, count: int) -> np.ndarray:
        """``count`` uniform bytes, ``uint8 [count]``."""
        words = np.asarray(self._bits.random_raw((count + 7) // 8), dtype="<u8")
        return words.view(np.uint8)[:count]

    def field(self, rows: int, columns: int) -> np.ndarray:
        """Uniform values in ``[0, 1]``, ``float32 [rows, columns]``."""
        return self.octets(rows * columns).reshape(rows, columns).astype(np.float32) / np.float32(255)


def stretch(field: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Resize ``[r, c]`` or ``[r, c, 3]`` to ``rows x columns`` by linear interpolation, corners on corners."""
    for axis, length in ((0, rows), (1, columns)):
        last = field.shape[axis] - 1
        at = np.arange(length, dtype=np.float32) * np.float32(last / max(length - 1, 1))
        low = np.minimum(at.astype(np.int64), max(last - 1, 0))
        share = (at - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(field.ndim)])
        first, second = field.take(low, axis=axis), field.take(np.minimum(low + 1, last), axis=axis)
        field = first + (second - first) * share
    return field


def smooth_noise(stream: Stream, rows: int, columns: int, cells: tuple[int, int]) -> np.ndarray:
    """Value noise in ``[-1, 1]`` with ``cells`` bumps down and across, ``float32 [rows, columns]``."""
    return stretch(stream.field(cells[0] + 1, cells[1] + 1), rows, columns) * np.float32(2) - np.float32(1)
